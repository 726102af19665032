//! Files as the arguments of a call: a multipart form of their bytes, streamed while they are read.

use std::{
    fs,
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use axum::body::Body;
use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    Client, ClientError, Reply,
    transport::Ask,
    upload::{boundary, head},
};
use crate::dag::unixfs::Attributes;

/// Bytes read at a time.
const PIECE_BYTES: usize = 256 * 1024;
/// Pieces read ahead of the connection.
const AHEAD: usize = 4;

/// Why reading ends early: a failure here, or nobody listens any more.
enum Stop {
    Failed(ClientError),
    Gone,
}

impl Client {
    /// Sends files (`-` = standard input) with a request and waits for the answer to begin; `progress` is told the bytes
    /// read so far. The time limit is how long nothing may move.
    pub(super) async fn send_files(
        &self,
        mut ask: Ask,
        paths: &[PathBuf],
        mut progress: impl FnMut(u64),
    ) -> Result<Reply, ClientError> {
        let boundary = boundary();
        let (pieces, queue) = mpsc::channel(AHEAD);
        let (count, mut counted) = watch::channel(0u64);
        let failure: Arc<Mutex<Option<ClientError>>> = Arc::default();
        let (mark, slot, paths) = (boundary.clone(), failure.clone(), paths.to_vec());
        // Reading files blocks; the thread ends with the files or with the receiver of its pieces.
        tokio::task::spawn_blocking(move || match read(&paths, &mark, &pieces, &count) {
            Ok(()) | Err(Stop::Gone) => {}
            Err(Stop::Failed(error)) => {
                let text = error.to_string();
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                let _ = pieces.blocking_send(Err(std::io::Error::other(text)));
            }
        });
        ask.body = Body::from_stream(ReceiverStream::new(queue));
        ask.content_type = Some(format!("multipart/form-data; boundary={boundary}"));
        let sending = self.send_unbounded(ask);
        tokio::pin!(sending);
        let mut watching = true;
        let outcome = loop {
            progress(*counted.borrow_and_update());
            tokio::select! {
                outcome = &mut sending => break outcome,
                changed = counted.changed(), if watching => watching = changed.is_ok(),
                () = super::content::stalled(self.limit) => break Err(ClientError::Timeout {
                    seconds: self.limit.unwrap_or_default().as_secs_f64(),
                    what: "the content to be taken",
                }),
            }
        };
        // What went wrong here explains a connection that broke there.
        match failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(error),
            None => outcome,
        }
    }
}

fn read(
    paths: &[PathBuf],
    boundary: &str,
    pieces: &mpsc::Sender<Result<Bytes, std::io::Error>>,
    count: &watch::Sender<u64>,
) -> Result<(), Stop> {
    let send = |bytes: Vec<u8>| pieces.blocking_send(Ok(bytes.into())).map_err(|_| Stop::Gone);
    let mut done = 0;
    for (i, path) in paths.iter().enumerate() {
        send(head(boundary, b"", &Attributes::default(), "application/octet-stream", i == 0))?;
        let stdin = path.as_os_str() == "-";
        let name: &Path = if stdin { Path::new("standard input") } else { path };
        let fail = |e: std::io::Error| Stop::Failed(ClientError::file(name, &e));
        let mut from: Box<dyn Read> = match stdin {
            true => Box::new(std::io::stdin().lock()),
            false => Box::new(fs::File::open(path).map_err(fail)?),
        };
        loop {
            let mut piece = vec![0; PIECE_BYTES];
            match from.read(&mut piece) {
                Ok(0) => break,
                Ok(n) => {
                    piece.truncate(n);
                    send(piece)?;
                    done += n as u64;
                    count.send_replace(done);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(fail(e)),
            }
        }
    }
    send(format!("\r\n--{boundary}--\r\n").into_bytes())
}
