//! `/api/v1/repo`: a whole repo goes out, another one comes in.
//!
//! Private keys pass neither way: whoever may read the repo's folder takes them there.

use std::{path::PathBuf, sync::Arc};

use axum::{body::Body, extract::State, response::Response};
use futures::StreamExt;

use super::Json;
use crate::{
    content::{
        mfs::FilesPath,
        moving::{ExportFolder, KuboFolder, Origin, TakeFiles},
    },
    http::{
        HttpError,
        client::KuboApi,
        model::moving::{ImportFrom, ImportRequest, frame},
        params::Params,
        reply::{self, Content},
    },
    node::Node,
};

/// Every block, and the roots, as frames.
pub async fn export(State(node): State<Node>, params: Params) -> Result<Response<Body>, HttpError> {
    let pieces = node.content().carry_out().map(|piece| Ok(frame(&piece?)));
    reply::stream(Content::Bytes, params.trailers, Box::pin(pieces)).await
}

/// Brings another repo; news of it one a line.
pub async fn import(
    State(node): State<Node>,
    params: Params,
    Json(request): Json<ImportRequest>,
) -> Result<Response<Body>, HttpError> {
    let ImportRequest { from, files_to, without_files, keys_taken } = request;
    let files = match files_to {
        _ if without_files => TakeFiles::No,
        Some(path) => {
            let path = FilesPath::parse(&path)?;
            if path.is_root() {
                return Err(HttpError::invalid("name a directory below / for the files tree that comes, or none"));
            }
            TakeFiles::Into(path)
        }
        None => TakeFiles::AsRoot,
    };
    let origin: Arc<dyn Origin> = match from {
        ImportFrom::Export(dir) => Arc::new(ExportFolder::open(&absolute(dir)?)?.keys_taken(keys_taken)),
        ImportFrom::KuboFolder(dir) => {
            let scratch = node.repo().scratch()?;
            Arc::new(KuboFolder::open(&absolute(dir)?, scratch).await?.keys_taken(keys_taken))
        }
        ImportFrom::KuboApi(url) => Arc::new(KuboApi::connect(&url)?),
    };
    let events = node.content().bring(origin, files).map(|event| event.map_err(HttpError::from));
    reply::lines(params.trailers, events).await
}

fn absolute(dir: PathBuf) -> Result<PathBuf, HttpError> {
    if dir.is_absolute() {
        return Ok(dir);
    }
    Err(HttpError::invalid(format!("{}: name the whole path, as it is on the machine of the node", dir.display())))
}
