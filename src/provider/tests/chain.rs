//! The chain over providers that do as the test says, on a clock that stands still but for what is waited for.

use std::{collections::VecDeque, future::Future, pin::pin, sync::Mutex, task::Poll};

use proptest::prelude::*;
use tokio::time::Instant;

use super::*;
use crate::{
    domain::{health::State, time::Millis},
    system::{Clock, Entropy, NoEntropy, SteadyClock},
    telemetry::Metrics,
};

/// Goes with the time of tokio.
struct PausedClock(Instant);

impl Clock for PausedClock {
    fn wall(&self) -> Millis {
        Millis(0)
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Zeros: every pause is half of the longest that it could be.
struct Zeros;

impl Entropy for Zeros {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        bytes.fill(0);
        Ok(())
    }
}

pub(super) fn parts() -> ChainParts {
    let clock = Arc::new(SteadyClock::new(Arc::new(PausedClock(Instant::now()))));
    ChainParts {
        clock,
        entropy: Arc::new(Zeros),
        metrics: Arc::new(Metrics::prometheus("zeroclaw").unwrap()),
    }
}

/// What a scripted provider does with one call.
#[derive(Debug, Clone)]
enum Step {
    Fail(ProviderError),
    Hang,
    AnswerAfter(Duration),
}

/// Does the steps in order, then answers at once. Remembers when it was called.
struct Script {
    name: &'static str,
    steps: Mutex<VecDeque<Step>>,
    calls: Mutex<Vec<Instant>>,
}

impl Script {
    fn new(name: &'static str, steps: impl IntoIterator<Item = Step>) -> Arc<Self> {
        let steps = Mutex::new(steps.into_iter().collect());
        Arc::new(Self { name, steps, calls: Mutex::default() })
    }

    fn calls(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    /// When it was called, in milliseconds after `start`.
    fn called_at(&self, start: Instant) -> Vec<u128> {
        self.calls.lock().unwrap().iter().map(|call| (*call - start).as_millis()).collect()
    }
}

#[async_trait]
impl Provider for Script {
    fn kind(&self) -> Kind {
        Kind::OpenAi
    }

    fn model(&self) -> &str {
        self.name
    }

    async fn answer(&self, _: &Prompt) -> Outcome {
        self.calls.lock().unwrap().push(Instant::now());
        let step = self.steps.lock().unwrap().pop_front();
        match step {
            Some(Step::Fail(error)) => return Err(error),
            Some(Step::Hang) => std::future::pending().await,
            Some(Step::AnswerAfter(time)) => tokio::time::sleep(time).await,
            None => {}
        }
        Ok(completion("hi", self.name, 1, 1))
    }
}

const SETTINGS: ChainSettings =
    ChainSettings { timeout: Duration::from_mins(2), max_retries: 2, max_in_flight: 64, max_queued: 1024 };
const NO_RETRIES: ChainSettings = ChainSettings { max_retries: 0, ..SETTINGS };

fn chain<const N: usize>(scripts: [&Arc<Script>; N], settings: ChainSettings) -> Chain {
    chain_with(scripts, settings, parts())
}

fn chain_with<const N: usize>(
    scripts: [&Arc<Script>; N],
    settings: ChainSettings,
    parts: ChainParts,
) -> Chain {
    let link = |script: &Arc<Script>| Link { provider: script.clone(), timeout: settings.timeout };
    let mut links = scripts.into_iter().map(link);
    Chain::new(links.next().unwrap(), links.collect(), settings, parts)
}

fn model_of(outcome: Result<Answer, ProviderError>) -> String {
    outcome.unwrap().model.as_ref().to_owned()
}

fn asked_to_wait(code: u16, secs: u64) -> Step {
    Step::Fail(ProviderError::Status { code, retry_after: Some(Duration::from_secs(secs)) })
}

#[tokio::test(start_paused = true)]
async fn who_answers_is_not_asked_again_and_nobody_else_is() {
    let (first, second) = (Script::new("first", []), Script::new("second", []));
    assert_eq!(model_of(chain([&first, &second], SETTINGS).answer(&hello()).await.0), "first");
    assert_eq!((first.calls(), second.calls()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_tried_again_after_growing_pauses_and_then_the_fallback_is_asked() {
    let errors = [ProviderError::Unreachable("x".into()), status(429), status(529)];
    let (first, second) = (Script::new("first", errors.map(Step::Fail)), Script::new("second", []));
    let start = Instant::now();
    assert_eq!(model_of(chain([&first, &second], SETTINGS).answer(&hello()).await.0), "second");
    assert_eq!((first.called_at(start), second.called_at(start)), (vec![0, 250, 750], vec![750]));
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_is_asked_for_is_kept_if_there_is_time() {
    let first = Script::new("first", [asked_to_wait(429, 7)]);
    let start = Instant::now();
    assert_eq!(model_of(chain([&first], SETTINGS).answer(&hello()).await.0), "first");
    assert_eq!(first.called_at(start), [0, 7000]);
    let (first, second) = (Script::new("first", [asked_to_wait(503, 60)]), Script::new("second", []));
    let start = Instant::now();
    assert_eq!(model_of(chain([&first, &second], SETTINGS).answer(&hello()).await.0), "second");
    assert_eq!((first.called_at(start), second.called_at(start)), (vec![0], vec![0]));
}

#[tokio::test(start_paused = true)]
async fn what_will_not_pass_is_not_tried_again_but_elsewhere() {
    for error in [status(401), status(400), ProviderError::ContextTooLong, ProviderError::BadResponse("x")] {
        let (first, second) = (Script::new("first", [Step::Fail(error)]), Script::new("second", []));
        assert_eq!(model_of(chain([&first, &second], SETTINGS).answer(&hello()).await.0), "second");
        assert_eq!(first.calls(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_policy_refuses_is_asked_nowhere_else() {
    let refusal = || [Step::Fail(ProviderError::RefusedByPolicy)];
    let (first, second) = (Script::new("first", refusal()), Script::new("second", refusal()));
    let third = Script::new("third", []);
    let outcome = chain([&first, &second], SETTINGS).answer(&hello()).await.0;
    assert_eq!((outcome, second.calls()), (Err(ProviderError::RefusedByPolicy), 0));
    let failing = Script::new("failing", [Step::Fail(status(401))]);
    let outcome = chain([&failing, &second, &third], SETTINGS).answer(&hello()).await.0;
    assert_eq!((outcome, third.calls()), (Err(ProviderError::RefusedByPolicy), 0));
}

#[tokio::test(start_paused = true)]
async fn one_that_hangs_leaves_an_equal_share_of_the_time_to_the_others() {
    let hanging = |name| Script::new(name, [Step::Hang, Step::Hang, Step::Hang]);
    let (first, second, third) = (hanging("first"), hanging("second"), hanging("third"));
    let start = Instant::now();
    let outcome = chain([&first, &second, &third], SETTINGS).answer(&hello()).await.0;
    assert!(matches!(outcome, Err(ProviderError::TimedOut(_))), "{outcome:?}");
    assert_eq!(start.elapsed().as_secs(), 120);
    let called = [&first, &second, &third].map(|script| script.called_at(start));
    assert_eq!(called, [vec![0], vec![40_000], vec![80_000]]);
    let (slow, second) = (Script::new("slow", [Step::AnswerAfter(Duration::from_secs(119))]), second);
    assert_eq!(model_of(chain([&slow], SETTINGS).answer(&hello()).await.0), "slow");
    assert_eq!(second.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_takes_no_longer_than_its_own_provider_allows() {
    let first = Script::new("first", [Step::Hang]);
    let link = Link { provider: first.clone(), timeout: Duration::from_secs(10) };
    let start = Instant::now();
    let answer = Chain::new(link, Vec::new(), SETTINGS, parts()).answer(&hello()).await.0;
    assert_eq!((model_of(answer), first.called_at(start)), ("first".into(), vec![0, 10_250]));
}

#[tokio::test(start_paused = true)]
async fn of_all_failures_one_is_told_after_which_a_later_try_makes_sense() {
    for (first, second, told) in [(401, 503, 503), (500, 400, 500), (401, 400, 401), (500, 503, 500)] {
        let [one, other] = [first, second].map(|code| Script::new("x", [Step::Fail(status(code))]));
        assert_eq!(chain([&one, &other], NO_RETRIES).answer(&hello()).await.0, Err(status(told)));
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_time_after_time_is_suspended_and_tried_again_later() {
    let (script, parts) = (Script::new("first", vec![Step::Fail(status(500)); 6]), parts());
    let chain = chain_with([&script], NO_RETRIES, parts.clone());
    let suspended = |count: u64| {
        let line = format!("zeroclaw_providers_suspended {count}");
        assert!(parts.metrics.render().lines().any(|shown| shown == line), "{line}");
    };
    for _ in 0..5 {
        assert_eq!(chain.health(), State::Ok);
        assert_eq!(chain.answer(&hello()).await.0, Err(status(500)));
    }
    suspended(1);
    for pause in [30, 60] {
        let pause = Duration::from_secs(pause);
        assert_eq!(chain.health(), State::Error);
        assert_eq!(chain.answer(&hello()).await.0, Err(ProviderError::Suspended(pause)));
        tokio::time::advance(pause).await;
        assert_eq!(chain.health(), State::Degraded);
        chain.answer(&hello()).await.0.ok();
    }
    assert_eq!((script.calls(), chain.health()), (7, State::Ok));
    suspended(0);
    let series = r#"zeroclaw_llm_attempts_total{outcome="overloaded",provider="openai"} 6"#;
    assert!(parts.metrics.render().lines().any(|line| line == series));
}

#[tokio::test(start_paused = true)]
async fn a_suspended_provider_is_passed_over_without_a_wait() {
    let first = Script::new("first", vec![Step::Fail(ProviderError::BadResponse("x")); 5]);
    let second = Script::new("second", []);
    let chain = chain([&first, &second], NO_RETRIES);
    for _ in 0..9 {
        assert_eq!(model_of(chain.answer(&hello()).await.0), "second");
    }
    assert_eq!((first.calls(), second.calls(), chain.health()), (5, 9, State::Degraded));
}

#[tokio::test(start_paused = true)]
async fn nobody_can_suspend_a_provider_by_what_he_asks() {
    let errors = [
        status(400),
        status(403),
        status(429),
        ProviderError::ContextTooLong,
        ProviderError::RefusedByPolicy,
        ProviderError::NoText,
        ProviderError::TooLong,
    ];
    let script = Script::new("first", [errors.as_slice(); 3].concat().into_iter().map(Step::Fail));
    let chain = chain([&script], NO_RETRIES);
    for _ in 0..21 {
        chain.answer(&hello()).await.0.unwrap_err();
    }
    assert_eq!((script.calls(), chain.health()), (21, State::Ok));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_given_up_is_followed_by_another() {
    let failures = vec![Step::Fail(status(401)); 5];
    let script = Script::new("first", failures.into_iter().chain([Step::Hang]));
    let chain = chain([&script], NO_RETRIES);
    for _ in 0..5 {
        chain.answer(&hello()).await.0.unwrap_err();
    }
    tokio::time::advance(Duration::from_secs(30)).await;
    let prompt = hello();
    {
        let mut probe = pin!(chain.answer(&prompt));
        assert!(is_pending(probe.as_mut()).await);
        let (other, _) = chain.answer(&prompt).await;
        assert_eq!(other, Err(ProviderError::Suspended(Duration::ZERO)));
    }
    assert_eq!(model_of(chain.answer(&prompt).await.0), "first");
}

/// Polls once.
async fn is_pending(mut future: std::pin::Pin<&mut (impl Future + ?Sized)>) -> bool {
    std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await
}

#[tokio::test(start_paused = true)]
async fn calls_beyond_the_limit_wait_in_order_and_beyond_that_are_refused() {
    let second = Duration::from_secs(1);
    let script = Script::new("first", vec![Step::AnswerAfter(second); 3]);
    let settings = ChainSettings { max_in_flight: 2, max_queued: 1, ..SETTINGS };
    let (chain, prompt, start) = (chain([&script], settings), hello(), Instant::now());
    let (mut one, mut two, mut three) =
        (pin!(chain.answer(&prompt)), pin!(chain.answer(&prompt)), pin!(chain.answer(&prompt)));
    for call in [&mut one, &mut two, &mut three] {
        assert!(is_pending(call.as_mut()).await);
    }
    assert_eq!(chain.answer(&prompt).await.0, Err(ProviderError::QueueFull));
    assert_eq!((script.calls(), start.elapsed()), (2, Duration::ZERO));
    let (one, two, three) = tokio::join!(one, two, three);
    assert_eq!([one, two, three].map(|(outcome, _)| model_of(outcome)), ["first"; 3]);
    assert_eq!(script.called_at(start), [0, 0, 1000]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waited_for_most_of_its_time_says_nothing_of_the_provider() {
    let steps = [Step::AnswerAfter(Duration::from_millis(119_500)), Step::Hang];
    let script = Script::new("first", [steps.as_slice(); 9].concat());
    let settings = ChainSettings { max_in_flight: 1, ..NO_RETRIES };
    let (chain, prompt) = (chain([&script], settings), hello());
    for _ in 0..9 {
        let start = Instant::now();
        let ((answered, _), (late, _)) = tokio::join!(chain.answer(&prompt), chain.answer(&prompt));
        assert_eq!(model_of(answered), "first");
        assert_eq!(late, Err(ProviderError::TimedOut(Duration::from_millis(500))));
        assert_eq!(start.elapsed(), SETTINGS.timeout);
    }
    assert_eq!(chain.health(), State::Ok);
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let errors = prop_oneof![
        Just(ProviderError::Unreachable("x".into())),
        Just(ProviderError::ContextTooLong),
        Just(ProviderError::BadResponse("x")),
        (400_u16..600, proptest::option::of(0_u64..300)).prop_map(|(code, secs)| ProviderError::Status {
            code,
            retry_after: secs.map(Duration::from_secs)
        }),
    ];
    let step = prop_oneof![
        errors.prop_map(Step::Fail),
        Just(Step::Hang),
        (0_u64..200).prop_map(|secs| Step::AnswerAfter(Duration::from_secs(secs))),
    ];
    prop::collection::vec(step, 0..9)
}

proptest! {
    #[test]
    fn nothing_goes_on_past_the_deadline(first in steps(), second in steps(), third in steps(), retries in 0_u32..4) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let took = runtime.block_on(async {
            let scripts = [Script::new("a", first), Script::new("b", second), Script::new("c", third)];
            let settings = ChainSettings { max_retries: retries, ..SETTINGS };
            let (chain, start) = (chain([&scripts[0], &scripts[1], &scripts[2]], settings), Instant::now());
            chain.answer(&hello()).await.0.ok();
            start.elapsed()
        });
        // The timer of tokio counts whole milliseconds.
        prop_assert!(took <= SETTINGS.timeout + Duration::from_millis(3), "{took:?}");
    }
}
