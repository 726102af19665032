//! Bitswap: client sessions and server.
