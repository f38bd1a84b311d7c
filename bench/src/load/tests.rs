use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::AtomicBool;

use super::*;
use crate::model_server::ModelServer;

fn text(problem: impl std::fmt::Display) -> String {
    problem.to_string()
}

fn short(addr: SocketAddr, path: &'static str) -> Load {
    let request: Request = Arc::new(move |_, out| {
        for part in ["POST ", path, " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"] {
            out.extend_from_slice(part.as_bytes());
        }
    });
    let (warmup, duration) = (Duration::from_millis(20), Duration::from_millis(200));
    Load { connections: 4, warmup, duration, ..Load::new(addr, request, 200) }
}

/// A server that answers each request head with what `answer` writes, and closes when that returns false.
fn server(mut answer: impl FnMut(&mut TcpStream) -> bool + Send + 'static) -> Result<SocketAddr, String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(text)?;
    let addr = listener.local_addr().map_err(text)?;
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let Ok(copy) = stream.try_clone() else { continue };
            for line in BufReader::new(copy).lines() {
                if line.is_ok_and(|line| line.is_empty()) && !answer(&mut stream) {
                    break;
                }
            }
        }
    });
    Ok(addr)
}

/// A request without a body, since `server` reads lines.
fn get(addr: SocketAddr) -> Load {
    let request: Request =
        Arc::new(|_, out| out.extend_from_slice(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    Load { connections: 1, request, ..short(addr, "") }
}

#[test]
fn a_closed_loop_counts_the_expected_answers() -> Result<(), String> {
    let model = ModelServer::start(None)?;
    for threads in [1, 2] {
        let report = run(&Load { threads, ..short(model.addr(), "/v1/chat/completions") })?;
        assert!(report.requests > 0 && report.per_second > 0.0, "{report:?}");
        assert!(report.requests <= model.completions(), "{report:?}");
        assert!(Duration::ZERO < report.p50 && report.p50 <= report.p99 && report.p99 <= report.max);
        assert_eq!((report.unexpected.len(), report.reconnects), (0, 0));
        assert_eq!((report.unanswered, report.unsent), (0, 0));
    }
    Ok(())
}

#[test]
fn other_statuses_are_counted_apart() -> Result<(), String> {
    let model = ModelServer::start(None)?;
    let report = run(&short(model.addr(), "/elsewhere"))?;
    assert_eq!((report.requests, report.max), (0, Duration::ZERO));
    assert!(report.unexpected.keys().eq([&404]) && report.unexpected[&404] > 0, "{report:?}");
    Ok(())
}

#[test]
fn an_open_loop_accounts_for_every_request_that_was_due() -> Result<(), String> {
    let model = ModelServer::start(None)?;
    let report = run(&Load { rate: Some(500), ..short(model.addr(), "/v1/chat/completions") })?;
    assert_eq!((model.completions() + report.unsent, report.unanswered), (110, 0), "{report:?}");
    // Those that were due in the last moment of the warm-up are answered, and counted, after it.
    assert!(0 < report.requests && report.requests <= model.completions(), "{report:?}");
    Ok(())
}

#[test]
fn an_open_loop_counts_the_wait_for_a_connection() -> Result<(), String> {
    let model = ModelServer::start(Some(Duration::from_millis(10)))?;
    let load = Load { rate: Some(1000), connections: 1, ..short(model.addr(), "/v1/chat/completions") };
    let report = run(&load)?;
    assert!(report.max > Duration::from_millis(100), "10 ms each would hide the queue: {report:?}");
    assert!(report.unsent > 100, "{report:?}");
    Ok(())
}

#[test]
fn an_announced_close_is_a_reconnect_and_loses_nothing() -> Result<(), String> {
    let addr = server(|stream| {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
        false
    })?;
    let report = run(&get(addr))?;
    assert!(report.requests > 0 && report.reconnects > 0, "{report:?}");
    assert_eq!(report.unanswered, 0);
    Ok(())
}

#[test]
fn a_request_that_is_cut_off_is_unanswered() -> Result<(), String> {
    let mut served = 0;
    let addr = server(move |stream| {
        served += 1;
        served != 3 && stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_ok()
    })?;
    let report = run(&get(addr))?;
    assert_eq!((report.unanswered, report.reconnects), (1, 1));
    assert!(report.requests > 0, "it went on afterwards: {report:?}");
    Ok(())
}

#[test]
fn a_stall_at_the_end_is_in_the_latencies() -> Result<(), String> {
    let stalled = AtomicBool::new(false);
    let addr = server(move |stream| {
        if !stalled.swap(true, Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(400));
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_ok()
    })?;
    let report = run(&get(addr))?;
    assert_eq!(report.requests, 0, "it came after the end");
    assert!(report.max >= Duration::from_millis(400), "{report:?}");
    Ok(())
}

#[test]
fn an_interim_response_is_not_the_answer() -> Result<(), String> {
    let addr = server(|stream| {
        let answer = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer).is_ok()
    })?;
    let report = run(&get(addr))?;
    assert!(report.requests > 0 && report.unexpected.is_empty(), "{report:?}");
    Ok(())
}

#[test]
fn what_cannot_be_measured_is_an_error() -> Result<(), String> {
    let addr = server(|stream| stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").is_ok())?;
    assert!(run(&get(addr)).is_err_and(|problem| problem.contains("Content-Length")));
    assert!(run(&Load { connections: 0, ..get(addr) }).is_err());
    assert!(run(&Load { rate: Some(0), ..get(addr) }).is_err());
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    assert!(run(&get(nobody)).is_err_and(|problem| problem.contains("cannot connect")));
    Ok(())
}
