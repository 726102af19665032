//! Who may ask: nobody through a foreign web page. A browser tells where a page comes from (`Origin`, `Referer`,
//! `Sec-Fetch-Site`) and which name it resolved (`Host`); a name that is not loopback's is DNS rebinding.

use axum::{
    extract::Request,
    http::{HeaderMap, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::HttpError;
use crate::base::Kind;

/// Lets a request through, or answers 403.
pub async fn check(request: Request, next: Next) -> Response {
    match verdict(request.headers(), request.uri()) {
        Ok(()) => next.run(request).await,
        Err(why) => {
            tracing::warn!(why, path = request.uri().path(), "request refused");
            HttpError::new(Kind::Denied, format!("403 - Forbidden: {why}")).into_response()
        }
    }
}

fn verdict(headers: &HeaderMap, uri: &Uri) -> Result<(), &'static str> {
    let named = headers.get(header::HOST).map(|h| h.to_str().unwrap_or_default());
    let host = named.or_else(|| uri.authority().map(|a| a.as_str())).ok_or("the request names no Host")?;
    let (name, port) = split(host);
    if !is_loopback(name) || headers.get_all(header::HOST).iter().count() > 1 {
        return Err("the Host is not this machine's loopback; call the API as 127.0.0.1 or localhost");
    }
    for header in [header::ORIGIN, header::REFERER] {
        for value in headers.get_all(&header) {
            let page = value.to_str().ok().and_then(page_host);
            let own = page.is_some_and(|page| {
                let (page_name, page_port) = split(page);
                is_loopback(page_name) && page_port == port
            });
            if !own {
                return Err("the request comes from a web page of another origin");
            }
        }
    }
    match headers.get("sec-fetch-site").map(|v| v.as_bytes()) {
        None | Some(b"none" | b"same-origin") => Ok(()),
        Some(_) => Err("the request comes from a web page of another site"),
    }
}

/// The host and port of an origin or address such as `http://localhost:5001/webui`.
fn page_host(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"))?;
    let host = rest.split(['/', '?', '#']).next()?;
    (!host.contains('@')).then_some(host)
}

fn split(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => (name, Some(port)),
        _ => (host, None),
    }
}

fn is_loopback(name: &str) -> bool {
    let bare = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(pairs: &[(&'static str, &str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        verdict(&headers, &Uri::from_static("/api/v0/id")).is_ok()
    }

    #[test]
    fn programs_on_this_machine_may_ask() {
        for host in ["127.0.0.1:5001", "localhost:5001", "[::1]:5001", "LOCALHOST", "127.8.8.8:1"] {
            assert!(ask(&[("host", host)]), "{host}");
        }
        assert!(ask(&[("host", "localhost:5001"), ("origin", "http://127.0.0.1:5001")]));
        assert!(ask(&[
            ("host", "localhost:5001"),
            ("referer", "http://localhost:5001/x?y"),
            ("sec-fetch-site", "same-origin")
        ]));
    }

    #[test]
    fn foreign_pages_and_rebound_names_may_not() {
        for host in [
            "",
            "evil.example",
            "evil.example:5001",
            "127.0.0.1.evil.example:5001",
            "localhost.evil:5001",
            "10.0.0.1:5001",
            "localhost:x",
        ] {
            assert!(!ask(&[("host", host)]), "{host}");
        }
        assert!(!ask(&[]));
        assert!(!ask(&[("host", "localhost:5001"), ("host", "evil.example")]));
        let own = ("host", "localhost:5001");
        for origin in [
            "https://evil.example",
            "null",
            "http://localhost:3000",
            "http://localhost",
            "http://a@localhost:5001",
            "file://",
            "http://localhost:5001.evil.example",
        ] {
            assert!(!ask(&[own, ("origin", origin)]), "{origin}");
            assert!(!ask(&[own, ("referer", origin)]), "{origin}");
        }
        assert!(!ask(&[own, ("sec-fetch-site", "cross-site")]));
        assert!(!ask(&[own, ("origin", "http://localhost:5001"), ("origin", "http://evil.example")]));
    }
}
