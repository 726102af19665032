//! Where control meets data: task handlers and the pin keeper.
