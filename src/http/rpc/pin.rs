//! `pin/add`, `pin/rm`, `pin/ls`, `pin/update` and `pin/verify`.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Json,
    body::Body,
    extract::{Multipart, State},
    response::{IntoResponse, Response},
};
use futures::{Stream, StreamExt, TryStreamExt, stream};

use super::{block::bad_form, content};
use crate::{
    base::{Cid, Kind},
    content::{Content, PinEntry, PinFilter, PinProgress, PinType},
    dag::{DagPath, cids::CidText},
    http::{
        HttpError,
        model::{BadNode, PinEvent, PinLine, PinList, PinType as TypeReply, PinVerifyLine, PinsReply},
        params::Params,
        reply,
    },
    node::Node,
    store::{PinKind, pins},
};

/// Most bytes of CIDs that are sent as a file.
pub const ARGS_BYTES: usize = 16 << 20;
/// Most pins in an answer that is not streamed.
const LIST_LIMIT: usize = 1_000_000;
/// Pins that are made at a time for one request.
const PIN_LANES: usize = 64;
/// How often progress is told.
const TICK: Duration = Duration::from_millis(500);

/// The paths: `arg`, else the lines of the file sent with the request.
async fn paths(params: &Params, form: Option<Multipart>) -> Result<Vec<DagPath>, HttpError> {
    let mut lines = String::new();
    if params.args().next().is_none()
        && let Some(mut form) = form
        && let Some(part) = form.next_field().await.map_err(bad_form)?
    {
        lines = part.text().await.map_err(bad_form)?;
    }
    let sent = lines.lines().map(str::trim).filter(|line| !line.is_empty());
    let paths: Vec<DagPath> = params.args().chain(sent).map(DagPath::parse).collect::<Result<_, _>>()?;
    if paths.is_empty() { Err(HttpError::usage("argument \"ipfs-path\" is required")) } else { Ok(paths) }
}

async fn roots(content: &Content, paths: Vec<DagPath>) -> Result<Vec<Cid>, HttpError> {
    let resolved = stream::iter(paths).map(|path| async move { content.resolve(&path).await });
    Ok(resolved.buffered(PIN_LANES).try_collect().await?)
}

fn name(params: &Params) -> Result<Option<String>, HttpError> {
    let name = params.text("name").filter(|n| !n.is_empty());
    pins::check_name(name)?;
    Ok(name.map(str::to_owned))
}

/// Pins, fetching what is missing. Those of one request are made beside each other; what is pinned stays so when another
/// fails.
pub async fn add(
    State(node): State<Node>,
    params: Params,
    form: Option<Multipart>,
) -> Result<Response<Body>, HttpError> {
    let content = content(&node, &params)?;
    let kind = if params.flag("recursive")?.unwrap_or(true) { PinKind::Recursive } else { PinKind::Direct };
    let (name, watched) = (name(&params)?, params.flag("progress")?.unwrap_or(false));
    let text = params.cid_text()?;
    let paths = paths(&params, form).await?;
    let progress = PinProgress::default();
    let counted = progress.clone();
    let pinning = async move {
        let pin = |path: DagPath| {
            let (content, name, counted) = (&content, name.clone(), &counted);
            async move {
                let cid = content.resolve(&path).await?;
                content.pin_watched(&cid, kind, name, counted).await?;
                Ok::<_, HttpError>(text.of(&cid))
            }
        };
        let pins = stream::iter(paths).map(pin).buffered(PIN_LANES).try_collect().await?;
        Ok::<_, HttpError>(PinEvent { pins, ..PinEvent::default() })
    };
    if watched {
        reply::lines(params.trailers, told(pinning, progress)).await
    } else {
        Ok(Json(pinning.await?).into_response())
    }
}

/// The progress of `pinning` twice a second, its last count, and its outcome.
fn told(
    pinning: impl Future<Output = Result<PinEvent, HttpError>> + Send + 'static,
    progress: PinProgress,
) -> impl Stream<Item = Result<PinEvent, HttpError>> + Send {
    let count = move || PinEvent { pins: Vec::new(), progress: progress.blocks(), bytes: progress.bytes() };
    let mut ticks = tokio::time::interval(TICK);
    ticks.reset();
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    stream::unfold(Some((Box::pin(pinning), ticks, count)), |state| async move {
        let (mut pinning, mut ticks, count) = state?;
        tokio::select! {
            biased;
            done = &mut pinning => {
                let last = [Ok(count()), done];
                Some((stream::iter(last.to_vec()), None))
            }
            _ = ticks.tick() => {
                let so_far = vec![Ok(count())];
                Some((stream::iter(so_far), Some((pinning, ticks, count))))
            }
        }
    })
    .flatten()
}

/// Takes pins back: all of them, or none when one of them is not pinned so.
pub async fn remove(
    State(node): State<Node>,
    params: Params,
    form: Option<Multipart>,
) -> Result<Json<PinsReply>, HttpError> {
    let content = content(&node, &params)?.offline();
    let kind = if params.flag("recursive")?.unwrap_or(true) { None } else { Some(PinKind::Direct) };
    let text = params.cid_text()?;
    let roots = roots(&content, paths(&params, form).await?).await?;
    content.unpin_all(roots.clone(), kind).await?;
    Ok(Json(PinsReply { pins: roots.iter().map(|cid| text.of(cid)).collect() }))
}

/// Moves a recursive pin to another root.
pub async fn update(State(node): State<Node>, params: Params) -> Result<Json<PinsReply>, HttpError> {
    let content = content(&node, &params)?;
    let text = params.cid_text()?;
    let mut args = params.args();
    let mut next = |what: &str| {
        let path = args.next().ok_or_else(|| HttpError::usage(format!("argument \"{what}\" is required")))?;
        Ok::<_, HttpError>(DagPath::parse(path)?)
    };
    let (from, to) = (next("from-path")?, next("to-path")?);
    let (from, to) = (content.resolve(&from).await?, content.resolve(&to).await?);
    content.update_pin(&from, &to, params.flag("unpin")?.unwrap_or(true)).await?;
    Ok(Json(PinsReply { pins: vec![text.of(&from), text.of(&to)] }))
}

/// Checks that all below recursive pins is here; tells of broken ones, and of whole ones when `verbose`.
pub async fn verify(State(node): State<Node>, params: Params) -> Result<Response<Body>, HttpError> {
    let content = content(&node, &params)?;
    let (verbose, quiet) = (params.flag("verbose")?.unwrap_or(false), params.flag("quiet")?.unwrap_or(false));
    if verbose && quiet {
        return Err(HttpError::invalid("the --verbose and --quiet options can not be used at the same time"));
    }
    let text = params.cid_text()?;
    let lines = content.check_pins().map_err(HttpError::from).try_filter_map(move |check| {
        let bad = check.bad.into_iter().filter(|_| !quiet);
        let bad_nodes = bad.map(|(cid, err)| BadNode { cid: text.of(&cid), err }).collect();
        let line = PinVerifyLine { cid: text.of(&check.cid), ok: check.ok, bad_nodes };
        std::future::ready(Ok((verbose || !line.ok).then_some(line)))
    });
    reply::lines(params.trailers, lines).await
}

fn filter(params: &Params) -> Result<PinFilter, HttpError> {
    Ok(match params.text("type").unwrap_or("all") {
        "all" | "any" | "" => PinFilter::All,
        "recursive" => PinFilter::Only(PinType::Recursive),
        "direct" => PinFilter::Only(PinType::Direct),
        "indirect" => PinFilter::Only(PinType::Indirect),
        other => {
            let all = "{direct, indirect, recursive, all}";
            return Err(HttpError::invalid(format!("invalid type '{other}', must be one of {all}")));
        }
    })
}

/// Lists pins; with `arg`, only how those are pinned.
pub async fn list(State(node): State<Node>, params: Params) -> Result<Response, HttpError> {
    let content = content(&node, &params)?.offline();
    let (filter, wanted) = (filter(&params)?, name(&params)?);
    let names = params.flag("names")?.unwrap_or(false) || wanted.is_some();
    let text = params.cid_text()?;
    let found = if params.args().next().is_some() {
        let roots = roots(&content, paths(&params, None).await?).await?;
        let how = content.pinned_as(&roots, filter).await?;
        let asked = how.into_iter().zip(params.args());
        let missing = |path: &str| HttpError::new(Kind::NotFound, format!("path '{path}' is not pinned"));
        let found: Vec<_> = asked.map(|(pin, path)| pin.ok_or_else(|| missing(path))).collect::<Result<_, _>>()?;
        stream::iter(found.into_iter().map(move |pin| Ok(line(pin, text, names, true)))).boxed()
    } else {
        // What lies below has no name that could match.
        let filter = match (&wanted, filter) {
            (Some(_), PinFilter::All) => PinFilter::Roots,
            (_, filter) => filter,
        };
        let pins = content.pins(filter).map_err(HttpError::from);
        let pins = pins.try_filter(move |pin| {
            let fits = |part: &String| pin.name.as_ref().is_some_and(|name| name.contains(part.as_str()));
            std::future::ready(wanted.as_ref().is_none_or(fits))
        });
        pins.map_ok(move |pin| line(pin, text, names, false)).boxed()
    };
    if params.flag("stream")?.unwrap_or(false) {
        return reply::lines(params.trailers, found).await;
    }
    let mut keys = BTreeMap::new();
    let mut found = found;
    while let Some(PinLine { cid, name, kind }) = found.try_next().await? {
        keys.insert(cid, TypeReply { kind, name });
        if keys.len() > LIST_LIMIT {
            return Err(HttpError::new(Kind::Busy, "over a million pins; ask again with stream=true"));
        }
    }
    Ok(Json(PinList { keys }).into_response())
}

fn line(pin: PinEntry, text: CidText, names: bool, through: bool) -> PinLine {
    let kind = match pin.via {
        Some(via) if through => format!("indirect through {}", text.of(&via)),
        _ => pin.kind.as_str().to_owned(),
    };
    PinLine { cid: text.of(&pin.cid), kind, name: pin.name.filter(|_| names).unwrap_or_default() }
}
