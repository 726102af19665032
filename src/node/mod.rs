//! Assembly of a running node.
