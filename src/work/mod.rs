//! Where control meets data: task handlers, and the keeper of their outputs.
//!
//! For the node, which hands a [`Work`] to the cluster as its data plane, and for library users, who register their own
//! [`TaskHandler`]s. What always holds: an attempt's output is durable and held before its success is reported; a refused
//! attempt loses its own hold and nothing else; memory does not grow with the input. Start with [`Work`].

mod error;
mod handler;
mod plane;
#[cfg(test)]
mod tests;
mod words;

pub use error::WorkError;
pub use handler::{Noop, Registry, TaskContext, TaskHandler, TaskResult};
pub use plane::Work;
pub use words::{WordCount, WordCounter, WordCounts};
