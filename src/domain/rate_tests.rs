use proptest::prelude::*;

use super::*;

fn table(limit: u32, max_clients: usize) -> RateTable<u8> {
    RateTable::new(limit, max_clients)
}

fn admitted(decision: Decision) -> bool {
    matches!(decision, Decision::Admitted { .. })
}

#[test]
fn the_limit_is_admitted_and_the_wait_is_the_real_one() {
    let mut table = table(2, 10);
    assert_eq!(
        table.hit(1, Millis(0)),
        Decision::Admitted { at: Millis(0), left: 1, reset: Duration::from_mins(1) }
    );
    assert!(admitted(table.hit(1, Millis(10_000))));
    assert_eq!(table.hit(1, Millis(10_000)), Decision::Refused { wait: Duration::from_secs(50) });
    assert_eq!(table.hit(1, Millis(59_999)), Decision::Refused { wait: Duration::from_millis(1) });
    assert!(admitted(table.hit(1, Millis(60_000))));
    assert_eq!(table.hit(1, Millis(60_000)), Decision::Refused { wait: Duration::from_secs(10) });
}

#[test]
fn a_full_table_refuses_the_new_client_and_resets_nobody() {
    let mut table = table(1, 2);
    assert!(admitted(table.hit(1, Millis(0))));
    assert!(admitted(table.hit(2, Millis(1000))));
    assert_eq!(table.hit(3, Millis(2000)), Decision::TableFull { wait: Duration::from_secs(58) });
    assert!(matches!(table.hit(1, Millis(2000)), Decision::Refused { .. }));
    assert!(admitted(table.hit(3, Millis(60_000))), "the first client is idle");
    assert!(matches!(table.hit(2, Millis(60_000)), Decision::Refused { .. }));
    assert_eq!(table.clients(), 2);
}

#[test]
fn a_clock_set_back_neither_empties_nor_fills_a_window() {
    let mut table = table(1, 10);
    assert!(admitted(table.hit(1, Millis(100_000))));
    assert_eq!(table.hit(1, Millis(0)), Decision::Refused { wait: WINDOW });
    let mut restarted = self::table(1, 10);
    restarted.reload([(1, Millis(100_000), 1)], Millis(0));
    assert_eq!(restarted.hit(1, Millis(0)), Decision::Refused { wait: WINDOW });
    assert!(admitted(restarted.hit(1, Millis(60_000))), "it has grown by no more than its own length");
}

#[test]
fn a_hit_that_could_not_be_written_is_not_counted() {
    let mut table = table(1, 10);
    assert!(admitted(table.hit(1, Millis(0))));
    table.undo(1, Millis(0), 1);
    assert!(admitted(table.hit(1, Millis(0))));
}

#[test]
fn a_reload_keeps_pending_hits_and_drops_stored_ones_that_were_deleted() {
    let mut table = table(2, 10);
    assert!(admitted(table.hit(1, Millis(0))));
    table.stored(1, Millis(0), 1);
    assert!(admitted(table.hit(1, Millis(5))));
    table.reload([], Millis(6));
    assert!(admitted(table.hit(1, Millis(6))), "the deleted hit is forgotten");
    assert!(!admitted(table.hit(1, Millis(6))), "the pending one is not");
}

proptest! {
    /// Against a model that keeps every admitted hit.
    #[test]
    fn no_60_seconds_hold_more_than_the_limit_and_nobody_is_refused_without_need(
        limit in 1_u32..5,
        steps in prop::collection::vec((0_u8..3, 0_i64..25_000, prop::bool::weighted(0.1)), 1..200),
    ) {
        let mut table = table(limit, 10);
        let mut now = Millis(0);
        let mut model: Vec<(u8, i64)> = Vec::new();
        for (client, wait, restart) in steps {
            now = Millis(now.0 + wait);
            if restart {
                table = RateTable::new(limit, 10);
                table.reload(model.iter().map(|&(client, at)| (client, Millis(at), 1)), now);
            }
            let in_window = model.iter().filter(|&&(c, at)| c == client && at > now.0 - 60_000).count();
            let decision = table.hit(client, now);
            prop_assert_eq!(admitted(decision), in_window < limit as usize);
            match decision {
                Decision::Admitted { left, .. } => {
                    prop_assert_eq!(left as usize, limit as usize - in_window - 1);
                    model.push((client, now.0));
                }
                Decision::Refused { wait } => {
                    let then = now.0 + i64::try_from(wait.as_millis()).unwrap();
                    let left = |t: i64| model.iter().filter(|&&(c, at)| c == client && at > t - 60_000).count();
                    prop_assert!(left(then) < limit as usize && left(then - 1) >= limit as usize);
                }
                Decision::TableFull { .. } => prop_assert!(false, "there is room"),
            }
        }
    }
}
