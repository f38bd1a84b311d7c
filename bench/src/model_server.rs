//! A model server on the loopback that costs next to nothing.
//!
//! It speaks just enough of the `OpenAI` chat completions API for a provider client: `POST /v1/chat/completions`
//! answers one fixed completion, whatever was asked, at once or after a fixed delay. Besides it takes messages as Meta's
//! API does: `POST /{number}/messages`. It has a thread and a runtime of its own, so that it never waits for what is being measured.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::message::{Reader, StartLine};

const COMPLETION: &str = concat!(
    r#"{"id":"x","object":"chat.completion","model":"bench","choices":[{"index":0,"#,
    r#""message":{"role":"assistant","content":"ok"},"finish_reason":"stop"}],"#,
    r#""usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#
);
/// What Meta's API answers to a message.
const MESSAGE: &str = r#"{"messaging_product":"whatsapp","messages":[{"id":"wamid.bench"}]}"#;
const NOT_FOUND: &[u8] = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";

/// A running model server. Dropping it stops it.
#[derive(Debug)]
pub struct ModelServer {
    addr: SocketAddr,
    completions: Arc<AtomicU64>,
    messages: Arc<AtomicU64>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ModelServer {
    /// Starts a server on a free port of 127.0.0.1. Each completion is sent `delay` after its request (rounded up to
    /// the runtime's clock tick, a millisecond), or at once.
    ///
    /// # Errors
    /// When there is no port or no thread to be had.
    pub fn start(delay: Option<Duration>) -> Result<Self, String> {
        Self::launch(delay).map_err(|problem| format!("cannot start the model server: {problem}"))
    }

    fn launch(delay: Option<Duration>) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        // Bound without `block_on`, which a caller inside a runtime could not use.
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let listener = {
            let _entered = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let completions = Arc::new(AtomicU64::new(0));
        let (stop, stopped) = oneshot::channel();
        let messages = Arc::new(AtomicU64::new(0));
        let service = Service {
            delay,
            completions: Arc::clone(&completions),
            messages: Arc::clone(&messages),
            completion: response(COMPLETION).into(),
            message: response(MESSAGE).into(),
        };
        let thread = std::thread::Builder::new()
            .name("model-server".to_owned())
            .spawn(move || serve(&runtime, listener, service, stopped))?;
        Ok(Self { addr, completions, messages, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many completions were asked of it so far.
    #[must_use]
    pub fn completions(&self) -> u64 {
        self.completions.load(Ordering::Relaxed)
    }

    /// How many messages were sent through it so far.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

#[derive(Clone)]
struct Service {
    delay: Option<Duration>,
    completions: Arc<AtomicU64>,
    messages: Arc<AtomicU64>,
    completion: Arc<[u8]>,
    message: Arc<[u8]>,
}

fn response(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
        .into()
}

fn serve(runtime: &Runtime, listener: TcpListener, service: Service, stopped: oneshot::Receiver<()>) {
    let accept = async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(answer(stream, service.clone()))),
                // The peer gave up, or no descriptor is free: wait for one rather than spin.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    runtime.block_on(async {
        tokio::select! {
            () = accept => {}
            _ = stopped => {}
        }
    });
}

/// Answers one connection until it closes or talks nonsense.
async fn answer(mut stream: TcpStream, service: Service) {
    let mut reader = Reader::<Target>::default();
    if stream.set_nodelay(true).is_err() {
        return;
    }
    while let Ok(Some(message)) = reader.read(&mut stream).await {
        let response = match message.start {
            Target::Completions => {
                service.completions.fetch_add(1, Ordering::Relaxed);
                if let Some(delay) = service.delay {
                    tokio::time::sleep(delay).await;
                }
                &*service.completion
            }
            Target::Messages => {
                service.messages.fetch_add(1, Ordering::Relaxed);
                &*service.message
            }
            Target::Other => NOT_FOUND,
        };
        if stream.write_all(response).await.is_err() || message.close {
            return;
        }
    }
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Completions,
    Messages,
    Other,
}

impl StartLine for Target {
    fn parse(line: &[u8]) -> Result<Self, String> {
        if line.starts_with(b"POST /v1/chat/completions ") {
            return Ok(Self::Completions);
        }
        if line.starts_with(b"POST /") && line.ends_with(b"/messages HTTP/1.1") {
            return Ok(Self::Messages);
        }
        if line.ends_with(b" HTTP/1.1") { Ok(Self::Other) } else { Err("not a request line".to_owned()) }
    }

    fn body_bytes(self, length: Option<usize>) -> Result<usize, String> {
        Ok(length.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::time::Instant;

    use super::*;

    const ASK: &str = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";

    fn exchange(server: &ModelServer, requests: &[&str]) -> std::io::Result<String> {
        let mut stream = std::net::TcpStream::connect(server.addr())?;
        for request in requests {
            stream.write_all(request.as_bytes())?;
        }
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut answers = String::new();
        stream.read_to_string(&mut answers)?;
        Ok(answers)
    }

    #[test]
    fn a_connection_is_kept_and_its_completions_are_counted() -> Result<(), String> {
        let server = ModelServer::start(None)?;
        let other = "GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n";
        let answers = exchange(&server, &[ASK, other, ASK]).map_err(|problem| problem.to_string())?;
        let one = String::from_utf8_lossy(&response(COMPLETION)).into_owned();
        assert_eq!(
            answers,
            [one.as_str(), "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", &one].concat()
        );
        assert_eq!(server.completions(), 2);
        Ok(())
    }

    #[test]
    fn the_delay_passes_before_the_answer() -> Result<(), String> {
        let delay = Duration::from_millis(30);
        let server = ModelServer::start(Some(delay))?;
        let begun = Instant::now();
        let answers = exchange(&server, &[ASK]).map_err(|problem| problem.to_string())?;
        assert!(answers.ends_with(COMPLETION) && begun.elapsed() >= delay, "after {:?}", begun.elapsed());
        Ok(())
    }

    #[test]
    fn a_dropped_server_closes_its_connections() -> Result<(), String> {
        let server = ModelServer::start(None)?;
        let mut stream =
            std::net::TcpStream::connect(server.addr()).map_err(|problem| problem.to_string())?;
        drop(server);
        assert!(!stream.read(&mut [0]).is_ok_and(|read| read > 0));
        Ok(())
    }
}
