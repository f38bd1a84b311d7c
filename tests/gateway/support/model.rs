//! Models that do as the test says.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use async_trait::async_trait;
use moorgate::{
    domain::message::{Answer, Completion, Prompt, Usage},
    provider::{Kind, Provider, ProviderError},
};
use tokio::sync::{Semaphore, watch};

/// A model inside the process: counts its calls, and answers, fails or waits as it is told.
#[derive(Clone)]
pub struct TestModel {
    calls: Arc<AtomicUsize>,
    started: watch::Sender<usize>,
    fails: Arc<Mutex<Option<ProviderError>>>,
    gate: Arc<Mutex<Option<Arc<Semaphore>>>>,
    held_text: Arc<Mutex<Option<String>>>,
    prompts: Arc<Mutex<Vec<Prompt>>>,
    says: Arc<Mutex<Option<String>>>,
    longest_history: Arc<Mutex<Option<usize>>>,
    held_on: Arc<Mutex<Vec<String>>>,
}

impl TestModel {
    /// Answers at once: `<message>!`, for 7 tokens read and 3 written.
    pub fn new() -> Self {
        Self {
            calls: Arc::default(),
            started: watch::Sender::new(0),
            fails: Arc::default(),
            gate: Arc::default(),
            held_text: Arc::default(),
            prompts: Arc::default(),
            says: Arc::default(),
            longest_history: Arc::default(),
            held_on: Arc::default(),
        }
    }

    /// How often it was asked.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// The names of the threads on which calls went on that had waited.
    pub fn held_on(&self) -> Vec<String> {
        self.held_on.lock().unwrap().clone()
    }

    /// What it was told in the call that asked about this message last: the messages before it, in order.
    pub fn history_of(&self, message: &str) -> Vec<String> {
        let prompts = self.prompts.lock().unwrap();
        let prompt = prompts.iter().rfind(|prompt| prompt.message.as_str() == message);
        let history = &prompt.unwrap_or_else(|| panic!("{message:?} was not asked")).history;
        history.iter().flat_map(|turn| [turn.user.clone(), turn.assistant.clone()]).collect()
    }

    /// Takes no more than so many turns before a message from now on.
    pub fn take_history(&self, turns: usize) {
        *self.longest_history.lock().unwrap() = Some(turns);
    }

    /// Says this from now on, whatever it is asked.
    pub fn say(&self, text: &str) {
        *self.says.lock().unwrap() = Some(text.to_owned());
    }

    /// Fails from now on, or no more.
    pub fn fail(&self, error: Option<ProviderError>) {
        *self.fails.lock().unwrap() = error;
    }

    /// Waits in every call from now on, until [`release`](Self::release).
    pub fn hold(&self) {
        *self.gate.lock().unwrap() = Some(Arc::new(Semaphore::new(0)));
    }

    /// Waits in every call with this message from now on, until [`release`](Self::release).
    pub fn hold_message(&self, text: &str) {
        *self.held_text.lock().unwrap() = Some(text.to_owned());
        self.hold();
    }

    /// Lets all calls go on.
    pub fn release(&self) {
        if let Some(gate) = self.gate.lock().unwrap().take() {
            gate.close();
        }
        *self.held_text.lock().unwrap() = None;
    }

    /// Waits until it has been asked `calls` times.
    pub async fn wait_for_calls(&self, calls: usize) {
        self.started.subscribe().wait_for(|started| *started >= calls).await.unwrap();
    }
}

#[async_trait]
impl Provider for TestModel {
    fn kind(&self) -> Kind {
        Kind::OpenAi
    }

    fn model(&self) -> &'static str {
        "test-model"
    }

    async fn answer(&self, prompt: &Prompt) -> Result<Completion, ProviderError> {
        let message = prompt.message.as_str();
        self.prompts.lock().unwrap().push(prompt.clone());
        let gate = self.gate.lock().unwrap().clone();
        let is_held = self.held_text.lock().unwrap().as_ref().is_none_or(|held| held == message);
        let calls = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        self.started.send_replace(calls);
        if let Some(gate) = gate.filter(|_| is_held) {
            // Whoever waited for the call may have released the gate by now: it has waited all the same.
            tokio::task::yield_now().await;
            gate.acquire().await.ok();
            self.held_on.lock().unwrap().push(thread::current().name().unwrap_or_default().to_owned());
        }
        if let Some(error) = self.fails.lock().unwrap().clone() {
            return Err(error);
        }
        if self.longest_history.lock().unwrap().is_some_and(|most| prompt.history.len() > most) {
            return Err(ProviderError::ContextTooLong);
        }
        let text = self.says.lock().unwrap().clone().unwrap_or_else(|| format!("{message}!"));
        let usage = Usage { prompt_tokens: Some(7), completion_tokens: Some(3) };
        Ok(Completion { answer: Answer { text: text.into(), model: "test-model-1".into() }, usage })
    }
}
