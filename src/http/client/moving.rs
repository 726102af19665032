//! Whole repos: out of a node into a folder here, and into a node.

use std::path::Path;

use bytes::BytesMut;

use super::{Client, ClientError, Lines, transport::Ask};
use crate::{
    content::moving::{CarryOut, ExportWriter, Exported},
    http::model::moving::{ImportRequest, unframe},
};

impl Client {
    /// Writes the node's repo into a new folder, all of it but the end, which is the caller's: the writer is given with
    /// what came. `progress` is told the bytes of the archive so far.
    pub async fn repo_export(
        &self,
        to: &Path,
        mut progress: impl FnMut(u64),
    ) -> Result<(ExportWriter, Exported), ClientError> {
        let mut writer = ExportWriter::begin(to)?;
        let mut reply = self.send(Ask::post("/api/v1/repo/export")).await?;
        let (mut buffer, mut bytes) = (BytesMut::new(), 0);
        let mut done = None;
        while let Some(piece) = reply.next().await? {
            buffer.extend_from_slice(&piece);
            while let Some(frame) = unframe(&mut buffer).map_err(|reason| ClientError::Malformed { reason })? {
                match frame {
                    CarryOut::Car(piece) => {
                        bytes += piece.len() as u64;
                        // Pieces are small, and the next one waits for this.
                        writer.car(&piece)?;
                        progress(bytes);
                    }
                    CarryOut::Pins(rows) => writer.pins(&rows)?,
                    CarryOut::Again => writer.again()?,
                    CarryOut::Done(exported) => done = Some(exported),
                }
            }
        }
        match done {
            Some(done) if buffer.is_empty() => Ok((writer, done)),
            _ => Err(ClientError::Broken { reason: "the export ended before it was whole".into() }),
        }
    }

    /// Brings another repo into the node; one [`crate::content::moving::MoveEvent`] a line.
    pub async fn repo_import(&self, request: &ImportRequest) -> Result<Lines, ClientError> {
        Ok(self.send(Ask::post("/api/v1/repo/import").json(request)).await?.lines())
    }
}
