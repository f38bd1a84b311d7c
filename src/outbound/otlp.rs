//! How telemetry reaches an OTLP receiver: with the client that makes all other calls.

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use opentelemetry_http::{HttpClient, HttpError};

use super::Client;

/// Makes the calls of the OTLP exporters.
#[derive(Debug, Clone)]
pub struct OtlpClient {
    client: Client,
    headers: HeaderMap,
}

impl OtlpClient {
    /// Calls through the connections of `client`, each with these headers.
    #[must_use]
    pub fn new(client: Client, headers: HeaderMap) -> Self {
        Self { client, headers }
    }
}

#[async_trait]
impl HttpClient for OtlpClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let mut headers = head.headers;
        headers.extend(self.headers.clone());
        let response = self.client.post_bytes(&head.uri.to_string(), headers, body).await?;
        let status = response.status();
        Ok(Response::builder().status(status).body(response.body().await?.into())?)
    }
}
