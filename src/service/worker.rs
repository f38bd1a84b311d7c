//! The work on one conversation: the model is asked, replies are sent, and what came of each job is written before the next one
//! begins.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use sha2::{Digest as _, Sha256};

use super::{
    agent::AskError,
    inbox::{InboxService, Served},
};
use crate::{
    channel::{Outbound, Retry, SendError},
    domain::{
        bound::without_controls,
        conversation::Conversation,
        delivery::{ONLY_TEXT, ReplyKind},
        hex::Hex,
        id::ConversationId,
        message::{Account, Answer},
        split::split,
        time::Millis,
    },
    repository::{AnswerEnd, AnswerJob, Next, Reply, SendEnd, SendJob, StoreError},
    system::random_number,
    telemetry::metrics::{DeliveryOutcome, Direction},
};

/// The first and the longest pause between two tries to write what came of a job.
const WRITE_PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// The pause of a conversation whose worker panicked, or of which nothing could be read.
const TROUBLE_PAUSE: Duration = Duration::from_secs(10);

/// The shortest pause of a conversation of which nothing is due.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// Works on one conversation until nothing of it is due. Dropped before, as by a panic, it leaves the conversation to the
/// next worker.
pub(super) struct Worker {
    service: Arc<InboxService>,
    served: Arc<Served>,
    conversation: ConversationId,
    next: Option<Next>,
}

impl Worker {
    pub(super) fn new(service: Arc<InboxService>, served: Arc<Served>, conversation: ConversationId) -> Self {
        Self { service, served, conversation, next: None }
    }

    pub(super) async fn run(mut self) {
        let service = Arc::clone(&self.service);
        let _busy = service.parts.metrics.channels.busy().hold();
        let repository = &service.parts.repository;
        let mut next = match repository.next(self.conversation, self.now()).await {
            Ok(next) => next,
            Err(error) => {
                // Somebody else may use the place meanwhile: a row that cannot be read does not get better soon.
                tracing::warn!(%error, "the next step of a conversation could not be taken; it is tried again");
                Next::WaitUntil(self.now().plus(TROUBLE_PAUSE))
            }
        };
        loop {
            let written = match next {
                Next::Answer(job) => {
                    let span = self.service.parts.metrics.traces.message(self.served.channel.kind());
                    let (end, account) = span.around(self.answer(&job)).await;
                    drop(span);
                    self.keep(|| repository.answered(&job, end.clone(), account, service.now())).await
                }
                Next::Send(job) => {
                    let end = self.send(&job).await;
                    self.keep(|| repository.sent(&job, end.clone(), service.now())).await
                }
                Next::WaitUntil(at) => {
                    // Whatever a row says: nobody looks at it again and again without a pause.
                    self.next = Some(Next::WaitUntil(at.max(self.now().plus(SHORTEST_PAUSE))));
                    return;
                }
                rest => {
                    self.next = Some(rest);
                    return;
                }
            };
            next = written.unwrap_or(Next::Idle);
        }
    }

    fn now(&self) -> Millis {
        self.service.now()
    }

    /// Tries until it is written, or until the gateway stops: then `None`, and the next start takes the job over.
    async fn keep<F: Future<Output = Result<Next, StoreError>>>(
        &self,
        write: impl Fn() -> F,
    ) -> Option<Next> {
        let (mut pause, longest) = WRITE_PAUSE;
        loop {
            match write().await {
                Ok(next) => return Some(next),
                Err(error) => {
                    tracing::warn!(%error, "a step of the inbox could not be written; it is tried again");
                }
            }
            self.service.stopping.run_until_cancelled(tokio::time::sleep(pause)).await?;
            pause = (pause * 2).min(longest);
        }
    }

    /// When to try again after the `attempt`-th try.
    fn after_pause(&self, attempt: u32, asked: Option<Duration>) -> Millis {
        let random = random_number(&*self.service.parts.entropy);
        self.now().plus(self.service.parts.settings.backoff.pause(attempt, asked, random))
    }

    async fn answer(&self, job: &AnswerJob) -> (AnswerEnd, Account) {
        let Some(text) = job.text.clone() else { return (self.notice(), Account::default()) };
        if job.attempt > self.service.parts.settings.message_attempts {
            // It may be what kills the process.
            return (AnswerEnd::Failed("crashed", self.apology()), Account::default());
        }
        let conversation = Conversation::Channel(job.conversation);
        let ended = self.service.parts.agent.ask(Arc::new(text), Some(conversation), None).await;
        let end = match ended.result {
            Ok(answer) => self.reply(answer),
            Err(error) => self.no_answer(job.attempt, &error),
        };
        (end, ended.account)
    }

    /// Who sends a picture or the like is told, in its turn, that only text is understood.
    fn notice(&self) -> AnswerEnd {
        let answer = Answer { text: ONLY_TEXT.into(), model: "".into() };
        AnswerEnd::Answered(answer, self.in_parts(ReplyKind::Notice, ONLY_TEXT))
    }

    fn in_parts(&self, kind: ReplyKind, text: &str) -> Reply {
        let text = without_controls(text);
        let parts = split(&text, self.served.channel.max_part_chars());
        Reply { kind, parts: parts.into_iter().map(str::to_owned).collect() }
    }

    fn reply(&self, answer: Answer) -> AnswerEnd {
        let reply = self.in_parts(ReplyKind::Answer, &answer.text);
        if reply.parts.is_empty() {
            return AnswerEnd::Failed("blank_answer", self.apology());
        }
        AnswerEnd::Answered(answer, reply)
    }

    fn no_answer(&self, attempt: u32, error: &AskError) -> AnswerEnd {
        if error.is_transient() && attempt < self.service.parts.settings.message_attempts {
            AnswerEnd::Retry(error.class(), self.after_pause(attempt, error.retry_after()))
        } else {
            AnswerEnd::Failed(error.class(), self.apology())
        }
    }

    fn apology(&self) -> Reply {
        let text = self.service.parts.settings.apology.as_deref();
        self.in_parts(ReplyKind::Apology, text.unwrap_or_default())
    }

    async fn send(&self, job: &SendJob) -> SendEnd {
        if job.attempt > self.service.parts.settings.delivery_attempts {
            return SendEnd::Dead { class: "crashed", in_doubt: false }; // sending it may be what kills the process
        }
        let Some(to) = &job.to else { return SendEnd::Dead { class: "no_conversation", in_doubt: false } };
        let key = key_of(job);
        let part = Outbound { to, reply_to: job.reply_to.as_deref(), text: &job.text, key: &key };
        let mut span = self.service.parts.metrics.traces.send(self.served.channel.kind());
        let result = span.around(self.served.channel.send(&part)).await;
        if let Err(error) = &result {
            span.fail(error.class);
        }
        drop(span);
        let takes =
            !matches!(&result, Err(error) if error.retry != Retry::Never || error.class == "unauthorized");
        self.served.takes.store(takes, Ordering::Relaxed);
        let (kind, metrics) = (self.served.channel.kind(), &self.service.parts.metrics.channels);
        match result {
            Ok(accepted) => {
                metrics.delivery(kind, DeliveryOutcome::Sent);
                metrics.message(kind, Direction::Outbound);
                SendEnd::Sent(accepted.platform_id)
            }
            Err(error) => {
                let end = self.not_sent(job.attempt, error);
                let (outcome, will) = match end {
                    SendEnd::Dead { .. } => (DeliveryOutcome::Dead, "it is given up"),
                    _ => (DeliveryOutcome::Retried, "it is tried again"),
                };
                tracing::warn!(channel = %kind, delivery = job.id.0, class = error.class, "a reply was not sent: {will}");
                metrics.delivery(kind, outcome);
                if error.in_doubt {
                    metrics.delivery(kind, DeliveryOutcome::InDoubt);
                }
                end
            }
        }
    }

    fn not_sent(&self, attempt: u32, error: SendError) -> SendEnd {
        let SendError { class, in_doubt, .. } = error;
        match error.retry {
            Retry::After(asked) if attempt < self.service.parts.settings.delivery_attempts => {
                SendEnd::Retry { class, at: self.after_pause(attempt, asked), in_doubt }
            }
            _ => SendEnd::Dead { class, in_doubt },
        }
    }
}

/// The name of a part of a reply, the same at each try: of its row, and of the moment it was written, since row numbers may
/// come again in another database.
fn key_of(job: &SendJob) -> String {
    Hex(&Sha256::digest(format!("{}\0{}\0{}", job.id, job.conversation, job.created_at.0))).to_string()
}

impl Drop for Worker {
    fn drop(&mut self) {
        let next = self.next.take().unwrap_or_else(|| Next::WaitUntil(self.now().plus(TROUBLE_PAUSE)));
        self.service.done(self.conversation, &next);
    }
}
