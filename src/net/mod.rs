//! One libp2p swarm behind narrow handles.
