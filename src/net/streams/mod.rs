//! Raw negotiated substreams: the handle.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use futures::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use super::error::NetError;
use crate::base::PeerId;

/// Which of the two connections between a pair of peers a protocol uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Small and urgent: consensus, sessions. Never behind bulk data.
    Control,
    /// Blocks and everything else.
    Bulk,
}

/// A raw substream: reads and writes of [`futures::io`]. Dropped without `close`, it is reset.
#[derive(Debug)]
pub struct Stream {
    io: libp2p::Stream,
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_close(cx)
    }
}

/// A stream that a peer has opened.
#[derive(Debug)]
pub struct Inbound {
    /// Who opened it.
    pub peer: PeerId,
    /// The protocol agreed on.
    pub protocol: &'static str,
    /// The stream.
    pub stream: Stream,
}

/// Opens and accepts raw streams. Cheap to clone.
#[derive(Clone)]
pub struct Streams {}

impl Streams {
    /// Opens a stream to `peer` that speaks the first of `protocols` the peer supports; returns which. Uses the
    /// connection of that class, or dials one when addresses are known; falls back to any connection to the peer.
    ///
    /// # Errors
    /// [`NetError::NoAddress`], [`NetError::Unreachable`], [`NetError::Unsupported`], [`NetError::Timeout`],
    /// [`NetError::Busy`], [`NetError::Closed`].
    pub async fn open(
        &self,
        peer: PeerId,
        protocols: &[&'static str],
        class: Class,
    ) -> Result<(&'static str, Stream), NetError> {
        let _ = (peer, protocols, class);
        todo!()
    }

    /// Accepts streams of `protocols` from now on, on old and new connections. At most `bound` wait in the queue; a
    /// stream that finds it full is reset at the remote end. Dropping the receiver stops accepting; accepting a
    /// protocol again replaces its former receiver.
    pub fn accept(&self, protocols: &[&'static str], class: Class, bound: usize) -> mpsc::Receiver<Inbound> {
        let _ = (protocols, class, bound);
        todo!()
    }

    /// How many inbound streams were refused because a queue or a limit was full.
    pub fn refused(&self) -> u64 {
        todo!()
    }
}
