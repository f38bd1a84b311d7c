//! Random sequences on the real service and file, beside a model of what should come of them: after each step the answer
//! and everything that an operator can see are what the model says.
//!
//! A sequence is chosen by its seed alone. A failure prints the seed and the steps that led to it;
//! `MOORGATE_TEST_SEED` runs that sequence again. Seeds that once failed are kept in [`KEPT`].

mod drive;
mod look;
mod model;
mod step;

use drive::Drive;
use step::Step;

use crate::support::{
    random::{Random, seed},
    size::size,
};

/// Steps of one sequence.
const STEPS: usize = 1000;
/// Sequences with seeds of their own in each run, where `MOORGATE_TEST_SEQUENCES` does not say another number.
const SEQUENCES: usize = 2;
/// Seeds of sequences that found something, or that reach much.
const KEPT: [u64; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

/// Does the steps that `seed` chooses.
async fn run(seed: u64, steps: usize) {
    println!("MOORGATE_TEST_SEED={seed}");
    let mut random = Random::new(seed);
    let mut drive = Drive::start().await;
    for number in 0..steps {
        let step = Step::choose(&mut random, &drive.model);
        println!("{number}: {step:?}");
        drive.run(step).await;
    }
    drive.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_sequences_do_as_the_model_first_half() {
    for seed in &KEPT[..4] {
        run(*seed, STEPS).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_sequences_do_as_the_model_second_half() {
    for seed in &KEPT[4..] {
        run(*seed, STEPS).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_sequences_do_as_the_model() {
    let first = seed();
    for number in 0..size("MOORGATE_TEST_SEQUENCES", SEQUENCES) {
        run(first.wrapping_add(u64::try_from(number).unwrap()), STEPS).await;
    }
}
