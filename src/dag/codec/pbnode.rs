//! Sans-IO: DAG-PB nodes as values: `{Links: [{Hash, Name, Tsize}], Data}`, where a field that is absent stays absent.

use super::{DagError, Ipld};
use crate::{
    base::Cid,
    dag::{pb, wire},
};

const CODEC: &str = "dag-pb";

pub(super) fn decode(bytes: &[u8]) -> Result<Ipld, DagError> {
    let mut links = Vec::new();
    let data = pb::walk(bytes, |link| {
        let mut fields = vec![("Hash".to_owned(), Ipld::Link(Box::new(link.cid)))];
        // Names are bytes in DAG-PB; what is no text is shown as well as it can be.
        fields.extend(link.name.map(|name| ("Name".into(), Ipld::String(String::from_utf8_lossy(name).into_owned()))));
        fields.extend(link.tsize.map(|size| ("Tsize".into(), Ipld::Int(i128::from(size)))));
        links.push(Ipld::Map(fields));
    })?;
    let mut fields = vec![("Links".to_owned(), Ipld::List(links))];
    fields.extend(data.map(|data| ("Data".to_owned(), Ipld::Bytes(data.to_vec()))));
    Ok(Ipld::Map(fields))
}

struct Link<'a> {
    cid: &'a Cid,
    name: Option<&'a str>,
    tsize: Option<u64>,
}

pub(super) fn encode(value: &Ipld) -> Result<Vec<u8>, DagError> {
    let (mut links, mut data) = (None, None);
    for (key, value) in fields(value)? {
        match (key.as_str(), value) {
            ("Links", Ipld::List(items)) if links.is_none() => {
                links = Some(items.iter().map(link).collect::<Result<Vec<_>, _>>()?);
            }
            ("Data", Ipld::Bytes(bytes)) if data.is_none() => data = Some(bytes),
            (key, value) => return Err(bad(format!("a node has no field {key:?} that is a {}", value.kind()))),
        }
    }
    let mut links = links.ok_or_else(|| bad("a node without Links".into()))?;
    links.sort_by(|a, b| a.name.unwrap_or_default().cmp(b.name.unwrap_or_default()));
    let mut out = Vec::new();
    for link in links {
        let mut inner = Vec::new();
        wire::put_bytes(&mut inner, 1, &link.cid.to_bytes());
        if let Some(name) = link.name {
            wire::put_bytes(&mut inner, 2, name.as_bytes());
        }
        if let Some(size) = link.tsize {
            wire::put_number(&mut inner, 3, size);
        }
        wire::put_bytes(&mut out, 2, &inner);
    }
    if let Some(data) = data {
        wire::put_bytes(&mut out, 1, data);
    }
    Ok(out)
}

fn link(value: &Ipld) -> Result<Link<'_>, DagError> {
    let (mut cid, mut name, mut tsize) = (None, None, None);
    for (key, value) in fields(value)? {
        match (key.as_str(), value) {
            ("Hash", Ipld::Link(hash)) if cid.is_none() => cid = Some(&**hash),
            ("Name", Ipld::String(text)) if name.is_none() => name = Some(text.as_str()),
            ("Tsize", Ipld::Int(size)) if tsize.is_none() => {
                tsize = Some(u64::try_from(*size).map_err(|_| bad(format!("a Tsize of {size}")))?);
            }
            (key, value) => return Err(bad(format!("a link has no field {key:?} that is a {}", value.kind()))),
        }
    }
    Ok(Link { cid: cid.ok_or_else(|| bad("a link without Hash".into()))?, name, tsize })
}

fn fields(value: &Ipld) -> Result<&[(String, Ipld)], DagError> {
    match value {
        Ipld::Map(entries) => Ok(entries),
        other => Err(bad(format!("a {} is no node; it has to be {{Data, Links}}", other.kind()))),
    }
}

fn bad(reason: String) -> DagError {
    DagError::malformed(CODEC, reason)
}
