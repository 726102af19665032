//! Entry points of fuzz targets: uploads as multipart forms.

use axum::{
    body::Body,
    extract::{FromRequest, Multipart},
    http::{HeaderMap, HeaderValue, Request, header},
};
use futures::{TryStreamExt, executor::block_on};

use super::{add::pieces, part::Head};

/// A form that is what the input says, and one with a part whose head is the input's first line: paths lead only downwards,
/// and a part's bytes are those between its borders.
pub fn upload(data: &[u8]) {
    let _ = parts(data.to_vec());
    let (line, content) = match data.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (data, &b""[..]),
    };
    let Ok(value) = HeaderValue::from_bytes(line) else { return };
    let head = checked(&HeaderMap::from_iter([(header::CONTENT_DISPOSITION, value)]));
    let form = [&b"--X\r\nContent-Disposition: "[..], line, b"\r\n\r\n", content, b"\r\n--X--\r\n"].concat();
    if content.windows(3).any(|bytes| bytes == b"--X") {
        return;
    }
    // A head may be one that no form has.
    if let Some(found) = parts(form) {
        assert!(matches!(&found[..], [(path, bytes)] if *path == head.path && bytes == content), "{found:?}");
    }
}

fn parts(body: Vec<u8>) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let request = Request::post("/").header(header::CONTENT_TYPE, "multipart/form-data; boundary=X");
    let request = request.body(Body::from(body)).expect("it is a request");
    block_on(async {
        let mut form = Multipart::from_request(request, &()).await.ok()?;
        let mut out = Vec::new();
        while let Some(part) = form.next_field().await.ok()? {
            let head = checked(part.headers());
            let bytes: Vec<_> = pieces(part).try_collect().await.ok()?;
            out.push((head.path, bytes.concat()));
        }
        Some(out)
    })
}

fn checked(headers: &HeaderMap) -> Head {
    let head = Head::read(headers);
    let names = || head.path.split(|byte| *byte == b'/');
    assert!(head.path.is_empty() || names().all(|name| !matches!(name, b"" | b"." | b"..")));
    assert!(head.attributes.mtime.is_none_or(|(_, nanos)| nanos < 1_000_000_000));
    assert!(head.attributes.mode.is_none_or(|mode| mode <= 0o7777));
    head
}
