//! Mends how the form reader takes the end of a body.

use axum::{body::Body, extract::Request};
use futures::{StreamExt, future, stream};

/// Tells of a body's end one turn after its last bytes. Multer (3.1) looks for the first boundary, polls once more, and
/// takes a body for cut off whose bytes and end both came with that poll, as those of small uploads may.
pub async fn ends_later(request: Request) -> Request {
    let turn = || stream::once(tokio::task::yield_now()).filter_map(|()| future::ready(None));
    request.map(|body| Body::from_stream(body.into_data_stream().chain(turn())))
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use axum::extract::{FromRequest, Multipart};

    use super::*;

    /// A body that is not there when it is first asked for, and then is there whole.
    fn late() -> Request {
        let mut polls = 0;
        let body = stream::poll_fn(move |cx| {
            polls += 1;
            match polls {
                1 => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                2 => {
                    let form = "--b\r\ncontent-disposition: form-data; name=\"file\"\r\n\r\nbytes\r\n--b--\r\n";
                    Poll::Ready(Some(Ok::<_, std::io::Error>(form)))
                }
                _ => Poll::Ready(None),
            }
        });
        let head = Request::builder().method("POST").header("content-type", "multipart/form-data; boundary=b");
        head.body(Body::from_stream(body)).unwrap()
    }

    #[tokio::test]
    async fn a_form_that_comes_whole_between_two_looks_is_read() {
        let mut form = Multipart::from_request(late(), &()).await.unwrap();
        assert!(form.next_field().await.is_err(), "multer is mended: this file can go");
        let mut form = Multipart::from_request(ends_later(late()).await, &()).await.unwrap();
        assert_eq!(form.next_field().await.unwrap().unwrap().text().await.unwrap(), "bytes");
        assert!(form.next_field().await.unwrap().is_none());
    }
}
