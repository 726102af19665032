//! `ls`.

use axum::{Json, extract::State, response::IntoResponse, response::Response};
use futures::{StreamExt, TryStreamExt, stream};

use super::content;
use crate::{
    content::{Content, LsEntry, LsOptions},
    dag::{DagPath, cids::CidText},
    http::{
        HttpError,
        model::{LsLink, LsObject, LsReply},
        params::Params,
        reply,
    },
    node::Node,
};

/// Most entries of one answer that is not streamed; they are sorted, and so held in memory.
const MAX_SORTED: usize = 1_000_000;

/// What lies in folders: everything sorted in one answer or, when streamed, entry by entry as it is found.
pub async fn ls(State(node): State<Node>, params: Params) -> Result<Response, HttpError> {
    let content = content(&node, &params)?;
    let text = params.cid_text()?;
    let flag = |name: &str| params.flag(name).map(|on| on.unwrap_or(true));
    // Each of the two needs the entry's block.
    let (kinds, sizes) = (flag("resolve-type")?, flag("size")?);
    let options = LsOptions { look: kinds || sizes, lenient: false };
    params.arg("ipfs-path")?;
    let mut asked = Vec::new();
    for arg in params.args() {
        asked.push((arg.to_owned(), DagPath::parse(arg)?));
    }
    if params.flag("stream")?.unwrap_or(false) {
        let lines = stream::iter(asked).flat_map(move |(hash, path)| {
            let entries = content.ls_stream(path, options).map_err(HttpError::from);
            entries.map_ok(move |entry| one(&hash, entry, text))
        });
        return reply::lines(params.trailers, lines).await;
    }
    let mut objects = Vec::with_capacity(asked.len());
    let mut room = MAX_SORTED;
    for (hash, path) in asked {
        let links = sorted(&content, path, options, text, &mut room).await?;
        objects.push(LsObject { hash, links });
    }
    Ok(Json(LsReply { objects }).into_response())
}

fn one(hash: &str, entry: LsEntry, text: CidText) -> LsReply {
    LsReply { objects: vec![LsObject { hash: hash.to_owned(), links: vec![LsLink::new(entry, text)] }] }
}

async fn sorted(
    content: &Content,
    path: DagPath,
    options: LsOptions,
    text: CidText,
    room: &mut usize,
) -> Result<Vec<LsLink>, HttpError> {
    let mut links = Vec::new();
    let mut entries = content.ls_stream(path, options);
    while let Some(entry) = entries.try_next().await? {
        let full =
            || HttpError::invalid(format!("over {MAX_SORTED} entries are not listed at once; ask with stream=true"));
        *room = room.checked_sub(1).ok_or_else(full)?;
        links.push(LsLink::new(entry, text));
    }
    links.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(links)
}
