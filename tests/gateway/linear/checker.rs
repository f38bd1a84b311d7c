//! Whether a history is linearizable: whether there is one order of its operations, each at some moment between its call
//! and its return, in which every outcome is right (Wing and Gong, 1993, with the memory of Lowe, 2017).
//!
//! An operation may consist of several steps, each at a moment of its own: a post claims its key, and settles it later. One
//! that never returned may have come to any of its ways, or to a part of one.

use std::{collections::HashSet, hash::Hash};

/// One operation as it was seen from outside.
#[derive(Debug, Clone)]
pub struct Operation<Step> {
    /// When it was called.
    pub called: u64,
    /// When it returned; `None`: it did not.
    pub returned: Option<u64>,
    /// What it may have done: the steps of each way, in order. One that returned has one way.
    pub ways: Vec<Vec<Step>>,
}

/// Which way an operation went, and how many of its steps are done.
type Progress = Option<(usize, usize)>;

/// Whether there is such an order, from `state` on; `apply` says what a step makes of a state, if it may happen in it.
pub fn is_linearizable<State: Clone + Eq + Hash, Step>(
    operations: &[Operation<Step>],
    state: &State,
    apply: &impl Fn(&State, &Step) -> Option<State>,
) -> bool {
    let mut search = Search { operations, apply, seen: HashSet::new() };
    search.goes_on(&mut vec![None; operations.len()], state)
}

struct Search<'a, State, Step, Apply> {
    operations: &'a [Operation<Step>],
    apply: &'a Apply,
    seen: HashSet<(Vec<Progress>, State)>,
}

impl<State: Clone + Eq + Hash, Step, Apply: Fn(&State, &Step) -> Option<State>>
    Search<'_, State, Step, Apply>
{
    fn goes_on(&mut self, progress: &mut Vec<Progress>, state: &State) -> bool {
        // No step may come after the return of an operation that is not done.
        let unfinished = (0..progress.len()).filter(|at| !self.is_done(*at, progress[*at]));
        let Some(first_return) = unfinished.filter_map(|at| self.operations[at].returned).min() else {
            return true;
        };
        if !self.seen.insert((progress.clone(), state.clone())) {
            return false;
        }
        for at in 0..progress.len() {
            let before = progress[at];
            if self.operations[at].called > first_return || self.is_done(at, before) {
                continue;
            }
            let (ways, done) = match before {
                Some((way, done)) => (way..way + 1, done),
                None => (0..self.operations[at].ways.len(), 0),
            };
            for way in ways {
                let Some(next) = (self.apply)(state, &self.operations[at].ways[way][done]) else { continue };
                progress[at] = Some((way, done + 1));
                if self.goes_on(progress, &next) {
                    return true;
                }
            }
            progress[at] = before;
        }
        false
    }

    fn is_done(&self, at: usize, progress: Progress) -> bool {
        progress.is_some_and(|(way, done)| done == self.operations[at].ways[way].len())
    }
}

/// A register that is written and read, of which it is known what is linearizable.
#[derive(Debug, Clone, Copy)]
enum Register {
    Write(u8),
    Read(u8),
}

fn check(operations: &[(u64, Option<u64>, Register)]) -> bool {
    let of = |(called, returned, step): &(u64, Option<u64>, Register)| Operation {
        called: *called,
        returned: *returned,
        ways: vec![vec![*step]],
    };
    let operations: Vec<_> = operations.iter().map(of).collect();
    is_linearizable(&operations, &0, &|state, step| match step {
        Register::Write(value) => Some(*value),
        Register::Read(value) => (value == state).then_some(*state),
    })
}

#[test]
fn a_read_sees_what_was_written_before_it_or_meanwhile() {
    use Register::{Read, Write};
    assert!(check(&[(0, Some(1), Write(1)), (2, Some(3), Read(1))]));
    assert!(check(&[(0, Some(3), Write(1)), (1, Some(2), Read(0))]), "before the write, which was under way");
    assert!(check(&[(0, Some(3), Write(1)), (1, Some(2), Read(1))]), "after it");
    assert!(check(&[(0, None, Write(1)), (1, Some(2), Read(0)), (3, Some(4), Read(1))]), "it never returned");
}

#[test]
fn a_read_of_what_is_gone_or_never_was_is_found() {
    use Register::{Read, Write};
    assert!(!check(&[(0, Some(1), Write(1)), (2, Some(3), Read(0))]), "the write is lost");
    assert!(!check(&[(0, Some(1), Read(1)), (2, Some(3), Write(1))]), "before it was written");
    let back = [(0, Some(9), Write(1)), (1, Some(2), Read(1)), (3, Some(4), Read(0))];
    assert!(!check(&back), "once seen, it is there");
}

#[test]
fn the_steps_of_an_operation_have_moments_of_their_own() {
    let both =
        Operation { called: 0, returned: Some(9), ways: vec![vec![Register::Write(1), Register::Write(2)]] };
    let read = |called, value| Operation {
        called,
        returned: Some(called + 1),
        ways: vec![vec![Register::Read(value)]],
    };
    let apply = |state: &u8, step: &Register| match step {
        Register::Write(value) => Some(*value),
        Register::Read(value) => (value == state).then_some(*state),
    };
    assert!(is_linearizable(&[both.clone(), read(1, 1), read(3, 2)], &0, &apply));
    assert!(!is_linearizable(&[both, read(1, 2), read(3, 1)], &0, &apply));
}
