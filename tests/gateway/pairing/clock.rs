//! Lockouts and codes while somebody sets the clock.

use crate::support::{gateway::Gateway, time::HOUR_MS};

use super::{MINUTE, TICK, assert_right_code_locked_out, guess, just_before, lock_out, start};

/// Failure 19: a clock set back must neither prolong a lockout nor end it.
#[tokio::test]
async fn a_clock_set_back_changes_no_lockout() {
    let gateway = start().await;
    lock_out(&gateway, 300).await;
    gateway.clock.advance(MINUTE);
    for _ in 0..3 {
        gateway.clock.step_wall(-HOUR_MS);
        assert_right_code_locked_out(&gateway, 240).await;
    }
    gateway.clock.advance(just_before(4 * MINUTE));
    assert_right_code_locked_out(&gateway, 1).await;
    gateway.clock.advance(TICK);
    gateway.pair().await;
}

/// Failure 19: a clock set back must neither prolong a lockout nor end it, whether the gateway runs or not.
#[tokio::test]
async fn a_clock_set_back_over_a_restart_changes_no_lockout() {
    for back_ms in [1, 30_000, 1000 * HOUR_MS] {
        let gateway = start().await;
        lock_out(&gateway, 300).await;
        gateway.clock.advance(MINUTE);
        let gateway = gateway.restart_with_clock_set(-back_ms).await;
        assert_right_code_locked_out(&gateway, 240).await;
        gateway.clock.advance(4 * MINUTE);
        lock_out(&gateway, 600).await;
    }
}

#[tokio::test]
async fn failures_count_on_when_the_clock_is_set_back_over_a_restart() {
    let gateway = start().await;
    guess(&gateway, &gateway.client, 4).await;
    let gateway = gateway.restart_with_clock_set(-HOUR_MS).await;
    guess(&gateway, &gateway.client, 1).await;
    assert_right_code_locked_out(&gateway, 300).await;
}

#[tokio::test]
async fn failures_decay_on_time_when_the_clock_is_set_back_over_a_restart() {
    let gateway = start().await;
    guess(&gateway, &gateway.client, 4).await;
    gateway.clock.advance(10 * MINUTE);
    let gateway = gateway.restart_with_clock_set(-HOUR_MS).await;
    gateway.clock.advance(5 * MINUTE);
    guess(&gateway, &gateway.client, 4).await;
    gateway.pair().await;
}

#[tokio::test]
async fn a_machine_that_slept_through_a_lockout_wakes_up_without_it() {
    let gateway = start().await;
    lock_out(&gateway, 300).await;
    gateway.clock.step_wall(300_000);
    gateway.pair().await;
}

/// Failure 17: codes never expired.
#[tokio::test]
async fn a_code_lives_its_hour_whatever_the_clock_is_set_to() {
    for (after, status) in [(just_before(60 * MINUTE), 200), (60 * MINUTE, 403)] {
        let gateway = start().await;
        gateway.clock.step_wall(-2 * HOUR_MS);
        gateway.clock.advance(after);
        assert_eq!(gateway.client.pair(gateway.code.as_ref().unwrap()).await.status, status);
    }
}

/// Failure 17: codes never expired.
#[tokio::test]
async fn a_code_lives_its_hour_when_the_clock_is_set_back_over_a_restart() {
    for (after, status) in [(just_before(50 * MINUTE), 200), (50 * MINUTE, 403)] {
        let gateway = start().await;
        let code = gateway.code.clone().unwrap();
        gateway.clock.advance(10 * MINUTE);
        let gateway = gateway.restart_with_clock_set(-1000 * HOUR_MS).await;
        gateway.clock.advance(after);
        assert_eq!(gateway.client.pair(&code).await.status, status);
    }
}

/// Failure 17: codes never expired. A small step back made a code live longer by it.
#[tokio::test]
async fn a_code_lives_its_hour_when_the_clock_is_set_back_a_little_over_a_restart() {
    for (after, status) in [(just_before(50 * MINUTE), 200), (50 * MINUTE, 403)] {
        let gateway = start().await;
        let code = gateway.code.clone().unwrap();
        gateway.clock.advance(10 * MINUTE);
        let gateway = gateway.restart_with_clock_set(-300_000).await;
        gateway.clock.advance(after);
        assert_eq!(gateway.client.pair(&code).await.status, status);
    }
}

/// Failure 5: after a crash there is no note of when the gateway stopped, only of what it did last.
#[tokio::test]
async fn a_clock_set_back_over_a_crash_changes_no_lockout() {
    let mut gateway = Gateway::start().await;
    lock_out(&gateway, 300).await;
    gateway.clock.advance(MINUTE);
    assert_right_code_locked_out(&gateway, 240).await;
    gateway.stop().await;
    gateway.sql("UPDATE server_run SET stopped_at_ms = NULL");
    gateway = gateway.restart_with_clock_set(-HOUR_MS).await;
    assert_right_code_locked_out(&gateway, 240).await;
    gateway.clock.advance(2 * MINUTE);
    for _ in 0..2 {
        gateway = gateway.restart().await;
        assert_right_code_locked_out(&gateway, 120).await;
    }
    gateway.clock.advance(2 * MINUTE);
    gateway.pair().await;
}

#[tokio::test]
async fn a_code_issued_after_the_clock_was_set_back_pairs() {
    let gateway = start().await;
    gateway.clock.step_wall(-2 * HOUR_MS);
    let code = gateway.another_code().await;
    gateway.client.paired(&code).await;
}
