//! `/api/v1/tasks`: submit them and read what became of them.

use std::time::Duration;

use axum::{body::Body, extract::State, response::Response};
use futures::TryStreamExt;

use super::Json;
use crate::{
    base::{Kind, cid},
    cluster::{Receipt, ReceiptBody, TaskId, TaskRecord, TaskState, Via},
    http::{
        HttpError,
        model::{TaskReply, TaskRequest},
        params::Params,
        reply::{self, Content},
    },
    node::Node,
};

/// How long a receipt is waited for when nothing else is said.
const RECEIPT_LIMIT: Duration = Duration::from_secs(60);

type Reply = Result<axum::Json<TaskReply>, HttpError>;

/// Submits a task; answers at its accepted receipt.
pub async fn submit(State(node): State<Node>, Json(request): Json<TaskRequest>) -> Reply {
    let input = request.input.as_deref().map(cid::parse).transpose()?;
    let via = if request.direct { Via::Direct } else { Via::Gossip };
    let limit = request.timeout_ms.map_or(RECEIPT_LIMIT, Duration::from_millis);
    let cluster = &node.online()?.cluster;
    let submitted = cluster.submit(&request.kind, input, request.params, via, limit).await?;
    let mut task = told(&submitted.accepted);
    task.kind = Some(request.kind);
    task.input = input.map(|c| c.to_string());
    Ok(axum::Json(task))
}

/// Waits for a task's outcome receipt.
pub async fn wait(State(node): State<Node>, params: Params) -> Reply {
    let id = id(&params)?;
    let limit = params.timeout()?.unwrap_or(RECEIPT_LIMIT);
    let receipt = node.online()?.cluster.wait_outcome(id, limit).await?;
    Ok(axum::Json(told(&receipt)))
}

/// A task as the masters have it.
pub async fn status(State(node): State<Node>, params: Params) -> Reply {
    Ok(axum::Json(recorded(node.online()?.cluster.task(id(&params)?).await?)))
}

/// The bytes of a task's result.
pub async fn result(State(node): State<Node>, params: Params) -> Result<Response<Body>, HttpError> {
    let task = node.online()?.cluster.task(id(&params)?).await?;
    let missing = || HttpError::new(Kind::NotFound, format!("task {} has no result: it is {}", task.id, task.state));
    let cid = task.result.filter(|_| task.state == TaskState::Completed).ok_or_else(missing)?;
    let content = node.content().with_timeout(params.timeout()?.unwrap_or(RECEIPT_LIMIT));
    let bytes = Box::pin(content.cat(cid, None).map_err(HttpError::from));
    reply::stream(Content::Bytes, params.trailers, bytes).await
}

fn id(params: &Params) -> Result<TaskId, HttpError> {
    let text = params.text("id").ok_or_else(|| HttpError::invalid("the task's id is required"))?;
    let wrong = |e| HttpError::invalid(format!("'{text}' is no task id: {e}"));
    text.parse().map_err(wrong)
}

fn told(receipt: &Receipt) -> TaskReply {
    let by = Some(receipt.certificate.peer.to_string());
    match &receipt.body {
        ReceiptBody::Accepted { task, log_index } => TaskReply {
            id: task.to_string(),
            state: TaskState::Pending.to_string(),
            accepted_index: Some(*log_index),
            accepted_by: by,
            ..TaskReply::default()
        },
        ReceiptBody::Outcome { task, state, result, worker, error, log_index } => TaskReply {
            id: task.to_string(),
            state: state.to_string(),
            worker: worker.map(|p| p.to_string()),
            result: result.map(|c| c.to_string()),
            error: error.clone(),
            outcome_index: Some(*log_index),
            outcome_by: by,
            ..TaskReply::default()
        },
    }
}

fn recorded(record: TaskRecord) -> TaskReply {
    TaskReply {
        id: record.id.to_string(),
        state: record.state.to_string(),
        kind: Some(record.spec.kind),
        input: record.spec.input.map(|c| c.to_string()),
        worker: record.worker.map(|p| p.to_string()),
        result: record.result.map(|c| c.to_string()),
        error: record.error,
        attempts: Some(record.attempts),
        fence: record.fence.map(|fence| fence.to_string()),
        accepted_index: Some(record.accepted_index),
        accepted_by: None,
        outcome_index: record.state.is_final().then_some(record.changed_index),
        outcome_by: None,
    }
}
