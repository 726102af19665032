//! `dag/export` and `dag/import`.

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, Multipart, State},
    response::Response,
    routing::post,
};
use futures::{StreamExt, TryStreamExt, stream};

use super::{add::pieces, block::bad_form, content};
use crate::{
    content::ExportOptions,
    http::{
        HttpError,
        model::dag::{CidLink, ImportEvent, ImportRoot, ImportStats},
        params::Params,
        reply,
    },
    node::Node,
};

/// The routes below `/api/v0/dag`.
pub fn routes() -> Router<Node> {
    Router::new()
        .route("/dag/export", post(export))
        .route("/dag/import", post(import).layer(DefaultBodyLimit::disable()))
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
        return Err(HttpError::invalid("file argument 'path' is required"));
    }
    let stats = import.stats();
    let stats = ImportStats { block_count: stats.blocks, block_bytes_count: stats.bytes };
    let roots = import.finish().await?;
    let told = params.flag("stats")?.unwrap_or(false).then(|| ImportEvent { stats: Some(stats), root: None });
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
    let lines = roots.chain(stream::iter(told)).map(|event| Ok(reply::line(&event)));
    reply::stream(reply::Content::Lines, params.trailers, Box::pin(lines)).await
}
