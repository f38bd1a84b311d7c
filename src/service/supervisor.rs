//! Keeps the parts of the gateway that run by themselves running: one that panics, fails or just ends is begun again after
//! a pause ([`Supervision`]), and everybody can see how each is doing. No part takes another down with it, or the process.

use std::{
    fmt::Display,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    domain::{
        health::{Component, State},
        supervision::Supervision,
    },
    system::{Entropy, SteadyClock, random_number},
    telemetry::Metrics,
};

/// What a supervisor works with.
pub struct SupervisorParts {
    /// For how long a part has run.
    pub clock: Arc<SteadyClock>,
    /// For the pauses.
    pub entropy: Arc<dyn Entropy>,
    /// Where restarts are counted.
    pub metrics: Arc<Metrics>,
}

/// The parts under supervision.
pub struct Supervisor {
    parts: SupervisorParts,
    components: [Mutex<Supervision>; Component::ALL.len()],
    changes: watch::Sender<()>,
}

/// With this a part says how it is doing.
#[derive(Clone)]
pub struct Pulse {
    supervisor: Arc<Supervisor>,
    component: Component,
}

impl Pulse {
    /// It is doing so, from now on.
    pub fn say(&self, state: State) {
        self.supervisor.change(self.component, |supervision| supervision.say(state));
    }

    /// It does what it is there for.
    pub fn is_well(&self) {
        self.say(State::Ok);
    }
}

impl Supervisor {
    /// Nothing is under supervision yet: every component is disabled.
    #[must_use]
    pub fn new(parts: SupervisorParts) -> Arc<Self> {
        let components = std::array::from_fn(|_| Mutex::default());
        Arc::new(Self { parts, components, changes: watch::Sender::new(()) })
    }

    /// How a component is doing.
    #[must_use]
    pub fn state(&self, component: Component) -> State {
        self.at(component).state(self.parts.clock.monotonic())
    }

    /// Waits until no component is starting any more, but not longer than `patience`.
    pub async fn settled(&self, patience: Duration) {
        let mut changes = self.changes.subscribe();
        let all_said = changes.wait_for(|()| {
            Component::ALL.into_iter().all(|component| self.state(component) != State::Starting)
        });
        let _given_up = tokio::time::timeout(patience, all_said).await;
    }

    /// Keeps a component running until `stopping` is cancelled and it has ended. `work` begins it, each time anew. Aborting
    /// the task aborts the work.
    pub fn keep<Work, Running, Failure>(
        self: &Arc<Self>,
        component: Component,
        stopping: CancellationToken,
        work: Work,
    ) -> JoinHandle<()>
    where
        Work: Fn(Pulse) -> Running + Send + 'static,
        Running: Future<Output = Result<(), Failure>> + Send + 'static,
        Failure: Display + Send + 'static,
    {
        let supervisor = Arc::clone(self);
        // From here on it is starting, and not only when its task is.
        self.change(component, |supervision| supervision.begin(self.parts.clock.monotonic()));
        tokio::spawn(async move {
            loop {
                let pulse = Pulse { supervisor: Arc::clone(&supervisor), component };
                let ended = AbortOnDropHandle::new(tokio::spawn(work(pulse))).await;
                let failure = match ended {
                    Ok(Ok(())) => "it ended by itself".to_owned(),
                    Ok(Err(failure)) => failure.to_string(),
                    Err(error) if error.is_panic() => "it panicked".to_owned(),
                    Err(_) => return,
                };
                if stopping.is_cancelled() {
                    return;
                }
                let pause = supervisor.failed(component, &failure);
                if stopping.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                    return;
                }
                supervisor.parts.metrics.supervision.restarted(component);
                let now = supervisor.parts.clock.monotonic();
                supervisor.change(component, |supervision| supervision.begin(now));
            }
        })
    }

    fn failed(&self, component: Component, failure: &str) -> Duration {
        let (now, random) = (self.parts.clock.monotonic(), random_number(&*self.parts.entropy));
        let mut pause = Duration::ZERO;
        self.change(component, |supervision| pause = supervision.fail(now, random));
        let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        tracing::error!(
            component = component.as_str(),
            error = failure,
            pause_ms,
            "a component failed; it is begun again"
        );
        pause
    }

    fn change(&self, component: Component, change: impl FnOnce(&mut Supervision)) {
        change(&mut self.at(component));
        self.changes.send_replace(());
    }

    fn at(&self, component: Component) -> MutexGuard<'_, Supervision> {
        self.components[component as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::atomic::{AtomicU32, Ordering},
    };

    use super::*;
    use crate::{
        domain::time::Millis,
        system::{Clock, SystemEntropy},
    };

    /// Tokio's time, which stands still but where a test waits.
    struct TokioClock(tokio::time::Instant);

    impl Clock for TokioClock {
        fn wall(&self) -> Millis {
            Millis(0)
        }

        fn monotonic(&self) -> Duration {
            self.0.elapsed()
        }
    }

    fn supervisor() -> (Arc<Supervisor>, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::prometheus("zeroclaw").unwrap());
        let clock = Arc::new(SteadyClock::new(Arc::new(TokioClock(tokio::time::Instant::now()))));
        let parts =
            SupervisorParts { clock, entropy: Arc::new(SystemEntropy), metrics: Arc::clone(&metrics) };
        (Supervisor::new(parts), metrics)
    }

    async fn until(supervisor: &Supervisor, component: Component, state: State) {
        let mut changes = supervisor.changes.subscribe();
        changes.wait_for(|()| supervisor.state(component) == state).await.unwrap();
    }

    /// Failure 32: one panic ends the process.
    #[tokio::test(start_paused = true)]
    async fn a_component_that_panics_is_begun_again_and_touches_no_other() {
        let (supervisor, metrics) = supervisor();
        let (stopping, begun) = (CancellationToken::new(), Arc::new(AtomicU32::new(0)));
        let stop = stopping.clone();
        let steady = supervisor.keep(Component::Heartbeat, stopping.clone(), move |pulse| {
            let stop = stop.clone();
            async move {
                pulse.is_well();
                stop.cancelled().await;
                Ok::<_, Infallible>(())
            }
        });
        let (counted, stop) = (Arc::clone(&begun), stopping.clone());
        let shaky = supervisor.keep(Component::Indexer, stopping.clone(), move |pulse| {
            let (counted, stop) = (Arc::clone(&counted), stop.clone());
            async move {
                match counted.fetch_add(1, Ordering::Relaxed) {
                    0 => panic!("on purpose"),
                    1 => return Err("an error"),
                    2 => return Ok(()),
                    _ => pulse.is_well(),
                }
                stop.cancelled().await;
                Ok(())
            }
        });
        assert_eq!(supervisor.state(Component::Indexer), State::Starting);
        until(&supervisor, Component::Indexer, State::Error).await;
        until(&supervisor, Component::Indexer, State::Degraded).await;
        assert_eq!(begun.load(Ordering::Relaxed), 4);
        assert_eq!(supervisor.state(Component::Heartbeat), State::Ok);
        assert_eq!(supervisor.state(Component::Tunnel), State::Disabled);
        let restarts = r#"zeroclaw_component_restarts_total{component="indexer"} 3"#;
        assert!(metrics.render().lines().any(|line| line == restarts));
        tokio::time::sleep(crate::domain::supervision::STABLE).await;
        assert_eq!(supervisor.state(Component::Indexer), State::Ok);

        stopping.cancel();
        steady.await.unwrap();
        shaky.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_ends_when_the_gateway_stops() {
        let (supervisor, _) = supervisor();
        let stopping = CancellationToken::new();
        let task = supervisor.keep(Component::Edits, stopping.clone(), |_| async { Err("an error") });
        until(&supervisor, Component::Edits, State::Error).await;
        stopping.cancel();
        task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_waits_for_the_first_word_of_all_but_not_for_ever() {
        let (supervisor, _) = supervisor();
        let (stopping, began) = (CancellationToken::new(), tokio::time::Instant::now());
        let task = supervisor.keep(Component::Edits, stopping.clone(), |pulse| async move {
            tokio::time::sleep(Duration::from_secs(3)).await;
            pulse.is_well();
            tokio::time::sleep(Duration::from_mins(5)).await;
            Ok::<_, Infallible>(())
        });
        supervisor.settled(Duration::from_secs(1)).await;
        assert_eq!(began.elapsed().as_secs(), 1);
        supervisor.settled(Duration::from_secs(100)).await;
        assert_eq!((began.elapsed().as_secs(), supervisor.state(Component::Edits)), (3, State::Ok));
        task.abort();
    }
}
