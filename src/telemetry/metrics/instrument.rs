//! The few shapes of instrument that the areas are made of.
//!
//! Instruments are bound to their labels once. A bound instrument writes straight to its number; an unbound one sorts
//! and hashes its labels and takes a lock on each call, which costs about five times as much. Binding is still an
//! experimental feature of OpenTelemetry, so every use of it is in this file.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{self as otel, BoundCounter, BoundHistogram, Counter, Histogram};

use super::label::Label;

/// Makes instruments, each under its whole name: the same one in `/metrics` and in what is pushed.
#[derive(Clone)]
pub(super) struct Meter {
    /// For names that OpenTelemetry fixed for everybody.
    pub(super) standard: otel::Meter,
    prefix: String,
}

impl Meter {
    /// A meter whose names begin with `prefix`.
    pub(super) fn new(standard: otel::Meter, prefix: String) -> Self {
        Self { standard, prefix }
    }

    fn name(&self, name: &'static str) -> String {
        format!("{}{name}", self.prefix)
    }
}

/// Name, help and upper bucket bounds of a histogram.
pub(super) struct HistogramSpec {
    /// The name without the namespace.
    pub(super) name: &'static str,
    /// The HELP text.
    pub(super) help: &'static str,
    /// Inclusive upper bounds, rising, without `+Inf`.
    pub(super) bounds: &'static [f64],
}

impl HistogramSpec {
    /// A histogram of seconds.
    pub(super) fn seconds(&self, meter: &Meter) -> Histogram<f64> {
        let builder = meter.standard.f64_histogram(meter.name(self.name)).with_description(self.help);
        builder.with_boundaries(self.bounds.to_vec()).build()
    }

    /// A histogram of whole numbers.
    pub(super) fn counts(&self, meter: &Meter) -> Histogram<u64> {
        let builder = meter.standard.u64_histogram(meter.name(self.name)).with_description(self.help);
        builder.with_boundaries(self.bounds.to_vec()).build()
    }
}

/// Shows a value with some labels.
pub(super) type Show<'a> = dyn Fn(u64, &[KeyValue]) + 'a;

/// A gauge that `look` reads out when somebody asks.
pub(super) fn observe(
    meter: &Meter,
    (name, help): (&'static str, &'static str),
    look: impl Fn(&Show<'_>) + Send + Sync + 'static,
) {
    let builder = meter.standard.u64_observable_gauge(meter.name(name)).with_description(help);
    let _ = builder.with_callback(move |to| look(&|value, labels| to.observe(value, labels))).build();
}

/// A counter that `look` reads out when somebody asks.
pub(super) fn observe_total(
    meter: &Meter,
    (name, help): (&'static str, &'static str),
    look: impl Fn() -> u64 + Send + Sync + 'static,
) {
    let builder = meter.standard.u64_observable_counter(meter.name(name)).with_description(help);
    let _ = builder.with_callback(move |to| to.observe(look(), &[])).build();
}

/// A counter that takes its labels at each call.
pub(super) fn counter(meter: &Meter, name: &'static str, help: &'static str) -> Counter<u64> {
    meter.standard.u64_counter(meter.name(name)).with_description(help).build()
}

/// A counter without labels, there from the first scrape on.
pub(super) struct Total(BoundCounter<u64>);

impl Total {
    pub(super) fn new(meter: &Meter, name: &'static str, help: &'static str) -> Self {
        let bound = counter(meter, name, help).bind(&[]);
        bound.add(0);
        Self(bound)
    }

    pub(super) fn increment(&self) {
        self.0.add(1);
    }
}

/// A counter with one number per label value, each there from the first scrape on.
pub(super) struct TotalBy<L> {
    cells: Box<[BoundCounter<u64>]>,
    label: PhantomData<L>,
}

impl<L: Label> TotalBy<L> {
    /// Splits `counter` by the label `key`, on top of the labels in `fixed`.
    pub(super) fn new(counter: &Counter<u64>, key: &'static str, fixed: &[KeyValue]) -> Self {
        let bind = |value: &L| {
            let labels: Vec<_> = fixed.iter().cloned().chain([KeyValue::new(key, value.text())]).collect();
            let bound = counter.bind(&labels);
            bound.add(0);
            bound
        };
        Self { cells: L::ALL.iter().map(bind).collect(), label: PhantomData }
    }

    pub(super) fn increment(&self, value: L) {
        self.add(value, 1);
    }

    pub(super) fn add(&self, value: L, by: u64) {
        self.cells[value.index()].add(by);
    }
}

/// Bound counters that come into being when they are first used, for label sets too large to show at zero.
pub(super) struct LazyTotals {
    counter: Counter<u64>,
    cells: Box<[OnceLock<BoundCounter<u64>>]>,
}

impl LazyTotals {
    /// Room for `len` label combinations of `counter`.
    pub(super) fn new(counter: Counter<u64>, len: usize) -> Self {
        Self { counter, cells: (0..len).map(|_| OnceLock::new()).collect() }
    }

    /// Adds one to the combination at `index`; `labels` is called the first time only.
    pub(super) fn increment<const N: usize>(&self, index: usize, labels: impl FnOnce() -> [KeyValue; N]) {
        self.cells[index].get_or_init(|| self.counter.bind(&labels())).add(1);
    }
}

/// Bound histograms of seconds that come into being when they are first used.
pub(super) struct LazyDurations {
    histogram: Histogram<f64>,
    cells: Box<[OnceLock<BoundHistogram<f64>>]>,
}

impl LazyDurations {
    /// Room for `len` label combinations of `histogram`.
    pub(super) fn new(histogram: Histogram<f64>, len: usize) -> Self {
        Self { histogram, cells: (0..len).map(|_| OnceLock::new()).collect() }
    }

    /// Records `elapsed` for the combination at `index`; `labels` is called the first time only.
    pub(super) fn record(&self, index: usize, elapsed: Duration, labels: impl FnOnce() -> Vec<KeyValue>) {
        let bound = self.cells[index].get_or_init(|| self.histogram.bind(&labels()));
        bound.record(elapsed.as_secs_f64());
    }
}

/// A number that goes up and down. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Level(Arc<AtomicU64>);

impl Level {
    /// A level that `/metrics` shows as the gauge `name`.
    pub(super) fn gauge(meter: &Meter, name: &'static str, help: &'static str) -> Self {
        let level = Self::default();
        let seen = level.clone();
        observe(meter, (name, help), move |show| show(seen.get(), &[]));
        level
    }

    /// The number now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Raises the number by `by`.
    pub fn raise(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    /// Lowers the number by `by`, to zero at most.
    pub fn lower(&self, by: u64) {
        let lowered = |now: u64| Some(now.saturating_sub(by));
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, lowered);
    }

    /// Makes it this number.
    pub fn set(&self, number: u64) {
        self.0.store(number, Ordering::Relaxed);
    }

    /// Raises the number by one until the guard is dropped.
    pub fn hold(&self) -> LevelGuard {
        self.raise(1);
        LevelGuard(self.clone())
    }
}

/// One unit of a [`Level`], given back on drop, also when the task that holds it is cancelled or panics.
#[derive(Debug)]
#[must_use = "the level is lowered as soon as this is dropped"]
pub struct LevelGuard(Level);

impl Drop for LevelGuard {
    fn drop(&mut self) {
        self.0.lower(1);
    }
}
