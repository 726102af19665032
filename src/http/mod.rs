//! The HTTP faces and their typed client.
