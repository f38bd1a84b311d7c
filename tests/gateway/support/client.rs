//! A client of the gateway, and what it got.

use std::net::{IpAddr, SocketAddr};

use reqwest::{
    Method, RequestBuilder,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde_json::Value;
use tokio::task::JoinHandle;

use super::{process::LONGEST_WAIT, wait::pause};

/// Posts to one gateway.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
}

/// A request under way.
pub type Posted = JoinHandle<Result<Reply, reqwest::Error>>;

/// A response, read to its end.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self::of(format!("http://{address}"), None)
    }

    /// The same gateway as seen from another address of this machine, such as `127.0.0.2`.
    pub fn seen_from(&self, local: &str) -> Self {
        Self::of(self.base.clone(), Some(local.parse().unwrap()))
    }

    fn of(base: String, local: Option<IpAddr>) -> Self {
        rustls::crypto::ring::default_provider().install_default().ok();
        let http = reqwest::Client::builder().no_proxy().timeout(LONGEST_WAIT).local_address(local);
        Self { http: http.build().unwrap(), base }
    }

    /// A request to `path`, to be filled and given to [`send`](Self::send).
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    pub async fn send(&self, request: RequestBuilder) -> Reply {
        self.try_send(request).await.unwrap()
    }

    pub async fn try_send(&self, request: RequestBuilder) -> Result<Reply, reqwest::Error> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Reply { status, headers, text: response.text().await? })
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn pair(&self, code: &str) -> Reply {
        self.send(self.request(Method::POST, "/pair").header("X-Pairing-Code", code)).await
    }

    /// The token that a right code brings.
    pub async fn paired(&self, code: &str) -> String {
        let reply = self.pair(code).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()["token"].as_str().unwrap().to_owned()
    }

    /// Posts a message with a token and perhaps a key.
    pub fn message(&self, token: &str, key: Option<&str>, message: &str) -> RequestBuilder {
        let body = serde_json::json!({ "message": message }).to_string();
        let request =
            self.request(Method::POST, "/webhook").header("Content-Type", "application/json").body(body);
        let request = if token.is_empty() { request } else { request.bearer_auth(token) };
        match key {
            Some(key) => request.header("X-Idempotency-Key", key),
            None => request,
        }
    }

    pub async fn post(&self, token: &str, key: Option<&str>, message: &str) -> Reply {
        self.send(self.message(token, key, message)).await
    }

    /// Posts until the key is no longer being worked on.
    pub async fn post_until_done(&self, token: &str, key: &str, message: &str) -> Reply {
        self.send_until_done(|| self.message(token, Some(key), message)).await
    }

    /// Sends requests with a key until it is no longer being worked on.
    pub async fn send_until_done(&self, request: impl Fn() -> RequestBuilder) -> Reply {
        let posts = async {
            loop {
                let reply = self.send(request()).await;
                if reply.status != 409 {
                    return reply;
                }
                pause().await;
            }
        };
        tokio::time::timeout(LONGEST_WAIT, posts).await.expect("the work comes to an end")
    }

    /// Posts in the background; aborted, it hangs up.
    pub fn post_apart(&self, token: &str, key: Option<&str>, message: &str) -> Posted {
        let (client, request) = (self.clone(), self.message(token, key, message));
        tokio::spawn(async move { client.try_send(request).await })
    }
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &'static str) -> Option<&str> {
        self.headers.get(HeaderName::from_static(name)).map(HeaderValue::to_str).transpose().unwrap()
    }

    /// Fails unless this is the whole answer, with the headers that every answer has.
    #[track_caller]
    pub fn assert_is(&self, status: u16, body: &str) {
        assert_eq!((self.status, self.text.as_str()), (status, body), "{self:?}");
        self.assert_common_headers();
        let kind = (!body.is_empty()).then_some("application/json; charset=utf-8");
        assert_eq!(self.header("content-type"), kind, "{self:?}");
    }

    /// Fails unless this has the headers that every answer has, but for `Cache-Control` on `/metrics`.
    #[track_caller]
    pub fn assert_common_headers(&self) {
        assert!(self.header("x-request-id").is_some_and(|id| !id.is_empty()), "{self:?}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(self.header(name), Some(value), "{name}: {self:?}");
        }
        let waits = matches!(self.status, 409 | 429 | 503);
        assert_eq!(self.header("retry-after").is_some(), waits, "{self:?}");
        if waits && self.json()["status"].is_null() {
            self.retry_after();
        }
        assert_eq!(self.header("www-authenticate").is_some(), self.status == 401, "{self:?}");
    }

    /// How many more requests the rate limit of this name admits, as `RateLimit` says.
    pub fn left(&self, name: &str) -> u32 {
        let field = self.header("ratelimit").unwrap_or_else(|| panic!("no RateLimit: {self:?}"));
        let rest = field.strip_prefix(&format!("\"{name}\";r=")).unwrap_or_else(|| panic!("{field}"));
        rest.split(';').next().unwrap().parse().unwrap()
    }

    /// The body's `retry_after`, which the header must repeat.
    pub fn retry_after(&self) -> u64 {
        let secs = self.json()["retry_after"].as_u64().unwrap_or_else(|| panic!("no retry_after: {self:?}"));
        assert_eq!(self.header("retry-after"), Some(secs.to_string().as_str()));
        secs
    }
}
