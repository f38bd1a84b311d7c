//! Work that fails, or whose caller does not wait for it.

use moorgate::provider::ProviderError;

use super::*;

/// Failure 1: the key was recorded before the work; the model failed, and the retry was told "already processed".
#[tokio::test]
async fn a_retry_after_the_provider_failed_is_answered() {
    let (gateway, token) = Gateway::paired_with(&[]).await;
    gateway.model.fail(Some(ProviderError::Status { code: 500, retry_after: None }));
    gateway.client.post(&token, Some("order-1"), "hello").await.assert_is(500, FAILED);
    assert_eq!(gateway.sql("SELECT count(*) FROM idempotency_key"), "0", "a failure frees the key");
    gateway.model.fail(None);
    assert_answered(&gateway.client.post(&token, Some("order-1"), "hello").await);
    assert_replayed(&gateway.client.post(&token, Some("order-1"), "hello").await);
    assert_eq!(gateway.model.calls(), 2);
    assert_eq!(
        gateway.sql("SELECT state, error_class FROM message ORDER BY id"),
        "failed|overloaded\nanswered|"
    );
}

/// Failure 1: the same, for a model that fails after a while, when the claim is on disk.
#[tokio::test]
async fn a_retry_after_a_slow_failure_is_answered() {
    let (gateway, token) = Gateway::paired_with(&[]).await;
    let first = post_and_hold(&gateway, &token, Some("order-1"), "hello").await;
    gateway.model.fail(Some(ProviderError::BadResponse("empty")));
    gateway.model.release();
    first.reply().await.assert_is(500, FAILED);
    gateway.model.fail(None);
    assert_answered(&gateway.client.post(&token, Some("order-1"), "hello").await);
    assert_eq!(gateway.model.calls(), 2);
}

#[tokio::test]
async fn a_failed_key_is_free_for_another_body() {
    let (gateway, token) = Gateway::paired_with(&[]).await;
    gateway.model.fail(Some(ProviderError::Status { code: 400, retry_after: None }));
    gateway.client.post(&token, Some("order-1"), "bye").await.assert_is(500, FAILED);
    gateway.model.fail(None);
    assert_answered(&gateway.client.post(&token, Some("order-1"), "hello").await);
}

#[tokio::test]
async fn no_failure_of_the_provider_shows_to_the_client() {
    let (gateway, token) = Gateway::paired_with(&[]).await;
    for error in [
        ProviderError::Unreachable("https://models.internal/ refused".into()),
        ProviderError::TimedOut(std::time::Duration::from_mins(2)),
        ProviderError::Status { code: 401, retry_after: None },
        ProviderError::BadResponse("not JSON"),
    ] {
        gateway.model.fail(Some(error));
        gateway.client.post(&token, None, "hello").await.assert_is(500, FAILED);
    }
}

/// Failure 1: 30 seconds passed, the answer was thrown away, and the retry was told "already processed".
/// Failure 6: the request's time is shorter than the model's: the money was spent for nothing.
#[tokio::test]
async fn work_goes_on_after_the_408_and_its_answer_is_what_the_retry_gets() {
    let (gateway, token) = Gateway::paired_with(&[UNLIMITED, ("gateway.request_timeout_secs", "5")]).await;
    gateway.model.hold();
    gateway.client.post(&token, Some("order-1"), "hello").await.assert_is(408, "");
    gateway.client.post(&token, Some("order-1"), "hello").await.assert_is(409, STILL_RUNNING);
    gateway.model.release();
    assert_replayed(&until_answered(&gateway, &token, "order-1", "hello").await);
    assert_eq!(gateway.model.calls(), 1);
}

/// Failure 1: the client hung up, the work was cancelled with it, and the retry was told "already processed".
#[tokio::test]
async fn work_goes_on_after_the_client_hung_up_and_its_answer_is_what_the_retry_gets() {
    let (gateway, token) = Gateway::paired_with(&[UNLIMITED]).await;
    gateway.model.hold();
    let headers = format!("Authorization: Bearer {token}\r\nIdempotency-Key: order-1\r\n");
    post_and_hang_up(&gateway, &headers, "hello").await;
    gateway.client.post(&token, Some("order-1"), "hello").await.assert_is(409, STILL_RUNNING);
    gateway.model.release();
    assert_replayed(&until_answered(&gateway, &token, "order-1", "hello").await);
    assert_eq!(gateway.model.calls(), 1);
}

/// Failure 1: the client hung up, then the model failed: nobody was told, and the retry must run again.
#[tokio::test]
async fn a_failure_after_the_client_hung_up_frees_the_key() {
    let (gateway, token) = Gateway::paired_with(&[UNLIMITED]).await;
    gateway.model.hold();
    let headers = format!("Authorization: Bearer {token}\r\nIdempotency-Key: order-1\r\n");
    post_and_hang_up(&gateway, &headers, "hello").await;
    gateway.model.fail(Some(ProviderError::Status { code: 503, retry_after: None }));
    gateway.model.release();
    until_answered(&gateway, &token, "order-1", "hello").await.assert_is(500, FAILED);
    gateway.model.fail(None);
    assert_answered(&gateway.client.post(&token, Some("order-1"), "hello").await);
    assert_eq!(gateway.sql("SELECT state FROM message WHERE id = 1"), "failed");
}

#[tokio::test]
async fn a_message_without_a_key_is_worked_on_to_its_end_though_its_sender_hung_up() {
    let (mut gateway, token) = Gateway::paired_with(&[]).await;
    gateway.model.hold();
    post_and_hang_up(&gateway, &format!("Authorization: Bearer {token}\r\n"), "hello").await;
    gateway.model.release();
    gateway.stop().await;
    assert_eq!(gateway.sql("SELECT state, answer, model FROM message"), "answered|hello!|test-model-1");
}
