//! `dag/export`, `dag/import`, `dag/put`, `dag/get`, `dag/resolve` and `dag/stat`.

use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, Multipart, State},
    response::Response,
    routing::post,
};
use futures::{StreamExt, TryStreamExt, stream};

use super::{add::pieces, block::bad_form, content};
use crate::{
    base::{Codec, Hash},
    content::{DagStats, ExportOptions},
    dag::{
        DagPath,
        cids::CidText,
        codec::{MAX_INPUT_BYTES, names},
    },
    http::{
        HttpError,
        model::dag::{
            CidLink, CidReply, DagStatReply, ImportEvent, ImportRoot, ImportStats, ResolveReply, StatSummary,
        },
        params::Params,
        reply,
    },
    node::Node,
};

/// Most bytes of one `dag/put`: a few values of the largest size, and their form.
const PUT_BYTES: usize = 4 * MAX_INPUT_BYTES;
/// Most values in one `dag/put`.
const PUT_VALUES: usize = 1024;

/// The routes below `/api/v0/dag`.
pub fn routes() -> Router<Node> {
    Router::new()
        .route("/dag/export", post(export))
        .route("/dag/import", post(import).layer(DefaultBodyLimit::disable()))
        .route("/dag/put", post(put).layer(DefaultBodyLimit::max(PUT_BYTES)))
        .route("/dag/get", post(get))
        .route("/dag/resolve", post(resolve))
        .route("/dag/stat", post(stat))
}

/// A DAG as a CARv1 stream.
async fn export(State(node): State<Node>, params: Params) -> Result<Response<Body>, HttpError> {
    let partial = params.flag("local-only")?.unwrap_or(false);
    if partial && params.flag("offline")? == Some(false) {
        return Err(HttpError::invalid(
            "local-only means offline and cannot stand beside offline=false; leave one out",
        ));
    }
    let content = content(&node, &params)?;
    let content = if partial { content.offline() } else { content };
    let root = content.resolve(&params.path()?).await?;
    let archive = content.export(root, ExportOptions { partial }).map_err(HttpError::from);
    reply::stream(reply::Content::Car, params.trailers, archive).await
}

/// Stores what archives hold and pins their roots.
async fn import(State(node): State<Node>, params: Params, mut form: Multipart) -> Result<Response<Body>, HttpError> {
    let partial = params.flag("local-only")?.unwrap_or(false);
    let pin = params.flag("pin-roots")?;
    if partial && pin == Some(true) {
        return Err(HttpError::invalid("local-only means pin-roots=false and cannot stand beside pin-roots=true"));
    }
    let pin = pin.unwrap_or(!partial);
    let content = content(&node, &params)?;
    let mut import = content.import();
    let mut any = false;
    while let Some(part) = form.next_field().await.map_err(bad_form)? {
        any = true;
        import.archive(pieces(part)).await?;
    }
    if !any {
        return Err(HttpError::usage("file argument 'path' is required"));
    }
    let stats = import.stats();
    let stats = ImportStats { block_count: stats.blocks, block_bytes_count: stats.bytes };
    let (roots, adding) = import.finish().await?;
    let told = params.flag("stats")?.unwrap_or(false).then_some(ImportEvent { stats: Some(stats), root: None });
    let roots = stream::iter(roots).filter_map(move |root| {
        let content = content.clone();
        async move {
            if !pin {
                content.announce(&root).await;
                return None;
            }
            let pin_error_msg = content.pin_local(&root).await.err().map(|e| e.to_string()).unwrap_or_default();
            let root = ImportRoot { cid: CidLink { cid: root.to_string() }, pin_error_msg };
            Some(ImportEvent { root: Some(root), stats: None })
        }
    });
    let lines = roots.chain(stream::iter(told)).map(move |event| {
        // Until the last root is pinned.
        let _adding = &adding;
        Ok(reply::line(&event))
    });
    reply::stream(reply::Content::Lines, params.trailers, Box::pin(lines)).await
}

/// Stores the values in the form's parts; one CID a line.
async fn put(State(node): State<Node>, params: Params, mut form: Multipart) -> Result<Response<Body>, HttpError> {
    let store = codec(params.text("store-codec"), "dag-cbor")?;
    let input = codec(params.text("input-codec"), "dag-json")?;
    let hash = params.text("hash").filter(|t| !t.is_empty()).map_or(Ok(Hash::Sha2_256), Hash::parse)?;
    let pin = params.flag("pin")?.unwrap_or(false);
    let content = content(&node, &params)?;
    let mut values = Vec::new();
    while let Some(part) = form.next_field().await.map_err(bad_form)? {
        values.push(part.bytes().await.map_err(bad_form)?.to_vec());
        if values.len() > PUT_VALUES {
            return Err(HttpError::invalid(format!("more than {PUT_VALUES} values at once; put them in turn")));
        }
    }
    if values.is_empty() {
        return Err(HttpError::usage("file argument 'object data' is required"));
    }
    let cids = content.dag_put(values, input, store, hash, pin).await?;
    let lines = cids.into_iter().map(|cid| Ok(reply::line(&CidReply { cid: CidLink { cid: cid.to_string() } })));
    reply::stream(reply::Content::Lines, params.trailers, stream::iter(lines)).await
}

/// The codec of a name.
fn codec(name: Option<&str>, default: &str) -> Result<Codec, HttpError> {
    let name = name.filter(|t| !t.is_empty()).unwrap_or(default);
    let found = names::codec_named(name).filter(|codec| names::is_known(*codec));
    found.ok_or_else(|| {
        let known = "use dag-cbor, dag-json, dag-pb, cbor, json or raw";
        HttpError::invalid(format!("codec '{name}' is not read or written here; {known}"))
    })
}

/// What a path leads to, as a value.
async fn get(State(node): State<Node>, params: Params) -> Result<Response<Body>, HttpError> {
    let output = codec(params.text("output-codec"), "dag-json")?;
    let value = content(&node, &params)?.dag_get(&params.path()?, output).await?;
    reply::stream(reply::Content::Bytes, params.trailers, reply::once(value.into())).await
}

/// Where a path ends.
async fn resolve(State(node): State<Node>, params: Params) -> Result<Json<ResolveReply>, HttpError> {
    let found = content(&node, &params)?.resolve_path(&params.path()?).await?;
    let rem_path = found.rest.iter().map(|segment| format!("/{segment}")).collect();
    Ok(Json(ResolveReply { cid: CidLink { cid: found.cid.to_string() }, rem_path }))
}

/// How much DAGs hold: totals so far, one a line, and at last all of it.
async fn stat(State(node): State<Node>, params: Params) -> Result<Response<Body>, HttpError> {
    let content = content(&node, &params)?;
    let text = params.cid_text()?;
    let progress = params.flag("progress")?.unwrap_or(true);
    params.arg("root")?;
    let mut roots = Vec::new();
    for arg in params.args() {
        roots.push(content.resolve(&DagPath::parse(arg)?).await?);
    }
    let lines = content.dag_stat(roots).map_err(HttpError::from).try_filter_map(move |stats| {
        let line = (progress || stats.done).then(|| reply::line(&summary(&stats, text)));
        futures::future::ready(Ok(line))
    });
    reply::stream(reply::Content::Lines, params.trailers, lines).await
}

fn summary(stats: &DagStats, text: CidText) -> StatSummary {
    let all: u64 = stats.roots.iter().map(|root| root.bytes).sum();
    let root = |root: &crate::content::DagStat| DagStatReply {
        cid: text.of(&root.cid),
        size: root.bytes,
        num_blocks: root.blocks,
    };
    let dag_stats = stats.roots.iter().map(root).collect();
    // As in Kubo the last three are told at the end only.
    let (unique_blocks, shared_size, ratio) = match stats.done {
        true => (stats.unique_blocks, all - stats.unique_bytes, all as f32 / stats.unique_bytes as f32),
        false => (0, 0, 0.0),
    };
    StatSummary { unique_blocks, total_size: stats.unique_bytes, shared_size, ratio, dag_stats }
}
