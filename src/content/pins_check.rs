//! Whether recursive pins are whole: every block below them is here and its bytes are what they should be.

use std::{collections::HashMap, sync::Arc, vec};

use futures::Stream;

use super::{
    Content, ContentError, MAX_BAD_BLOCKS, PinCheck,
    pins::{Key, key},
    source::{Source, driven, gone},
};
use crate::{
    base::{Cid, HasKind, Kind},
    dag,
    store::PinKind,
};

/// The bad blocks below a block that was checked; none for a whole one.
type Bad = Option<Arc<Vec<(Cid, String)>>>;

impl Content {
    /// Checks the recursive pins, one after the other. What lies below several is read once.
    pub fn check_pins(&self) -> impl Stream<Item = Result<PinCheck, ContentError>> + Send + Unpin + 'static {
        let content = self.clone();
        driven(16, move |sender| async move {
            let mut checked = HashMap::new();
            let mut after = None;
            loop {
                let page = content.page(after.as_ref()).await?;
                let Some(last) = page.last() else { return Ok(()) };
                after = Some(last.cid);
                for pin in page.into_iter().filter(|pin| pin.kind == PinKind::Recursive) {
                    let source = content.source(pin.cid).offline();
                    let bad = check(&source, pin.cid, &mut checked).await?;
                    let bad = bad.map(|bad| bad.to_vec()).unwrap_or_default();
                    let check = PinCheck { cid: pin.cid, ok: bad.is_empty(), bad };
                    sender.send(Ok(check)).await.map_err(gone)?;
                }
            }
        })
    }
}

/// A block whose links are being checked.
struct Open {
    key: Key,
    links: vec::IntoIter<Cid>,
    bad: Bad,
}

impl Open {
    /// Takes over what is bad below one of its links; shared as long as it is that alone.
    fn add(&mut self, below: Bad) {
        let (Some(bad), Some(below)) = (&mut self.bad, &below) else {
            self.bad = self.bad.take().or(below);
            return;
        };
        let room = MAX_BAD_BLOCKS.saturating_sub(bad.len());
        Arc::make_mut(bad).extend(below.iter().take(room).cloned());
    }
}

/// Depth first, so that a block's verdict is known when all below it are.
async fn check(source: &Source, root: Cid, checked: &mut HashMap<Key, Bad>) -> Result<Bad, ContentError> {
    let mut path: Vec<Open> = Vec::new();
    let mut next = Some(root);
    loop {
        let verdict = match next {
            Some(cid) => {
                let key = key(&cid);
                if let Some(known) = checked.get(&key) {
                    Some(known.clone())
                } else {
                    match links(source, &cid).await? {
                        Ok(links) => {
                            path.push(Open { key, links: links.into_iter(), bad: None });
                            None
                        }
                        Err(reason) => {
                            let bad: Bad = Some(Arc::new(vec![(cid, reason)]));
                            checked.insert(key, bad.clone());
                            Some(bad)
                        }
                    }
                }
            }
            None => path.pop().map(|done| {
                checked.insert(done.key, done.bad.clone());
                done.bad
            }),
        };
        if let Some(verdict) = verdict {
            let Some(above) = path.last_mut() else { return Ok(verdict) };
            above.add(verdict);
        }
        next = path.last_mut().and_then(|open| open.links.next());
    }
}

/// A block's links, read from its bytes; the reason when it is missing or damaged.
async fn links(source: &Source, cid: &Cid) -> Result<Result<Vec<Cid>, String>, ContentError> {
    let bytes = match source.get(cid).await {
        Ok(bytes) => bytes,
        Err(ContentError::NotFoundOffline { .. }) => return Ok(Err("the block is missing or damaged".into())),
        Err(error) if matches!(error.kind(), Kind::Corrupt | Kind::Invalid) => return Ok(Err(error.to_string())),
        Err(error) => return Err(error),
    };
    Ok(dag::links(cid, &bytes).map_err(|error| error.to_string()))
}
