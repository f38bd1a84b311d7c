//! A connection whose bytes the test chooses.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::{
    io::{
        AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
        ReadHalf, WriteHalf, split,
    },
    net::{TcpSocket, TcpStream, UnixStream},
};

use super::{client::Reply, process::LONGEST_WAIT};

/// Fails the test instead of hanging.
pub async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(LONGEST_WAIT, future).await.expect("it takes too long")
}

/// What a connection is made of.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

type Reader = BufReader<ReadHalf<Box<dyn Stream>>>;

/// A connection.
pub struct Raw {
    reader: Reader,
    writer: WriteHalf<Box<dyn Stream>>,
}

impl Raw {
    pub async fn connect(address: SocketAddr) -> Self {
        Self::over(soon(TcpStream::connect(address)).await.unwrap())
    }

    /// Connects from another of this machine's addresses.
    pub async fn connect_from(from: Ipv4Addr, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        Self::over(soon(socket.connect(address)).await.unwrap())
    }

    /// Connects to a Unix domain socket.
    pub async fn connect_unix(path: &Path) -> Self {
        Self::of(Box::new(soon(UnixStream::connect(path)).await.unwrap()))
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self::of(Box::new(stream))
    }

    fn of(stream: Box<dyn Stream>) -> Self {
        let (reader, writer) = split(stream);
        Self { reader: BufReader::new(reader), writer }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.writer.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Sends a part again and again in the background, until the server does not take it any more.
    pub fn keep_sending(self, part: Vec<u8>) -> Sending {
        let Self { reader, mut writer } = self;
        tokio::spawn(async move { while writer.write_all(&part).await.is_ok() {} });
        Sending { reader }
    }

    /// Sends no more.
    pub async fn finish(&mut self) {
        self.writer.shutdown().await.ok();
    }

    /// The next answer; interim ones are passed over.
    pub async fn reply(&mut self) -> Reply {
        soon(read_reply(&mut self.reader, true)).await
    }

    /// The status of the next head, which may be that of an interim answer.
    pub async fn interim(&mut self) -> u16 {
        soon(read_head(&mut self.reader)).await.0
    }

    /// The next answer, which has no body since the request was `HEAD`.
    pub async fn reply_to_head(&mut self) -> Reply {
        soon(read_reply(&mut self.reader, false)).await
    }

    /// What comes until the server closes; a reset is an end, too.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        soon(self.reader.read_to_end(&mut bytes)).await.ok();
        bytes
    }

    /// Sends a request and reads its answer.
    pub async fn ask(&mut self, request: impl AsRef<[u8]>) -> Reply {
        self.send(request).await;
        self.reply().await
    }
}

/// Posts to `/webhook` with these header lines and what there is of a body.
pub async fn post(address: SocketAddr, headers: &str, body: &str) -> Reply {
    post_from(Ipv4Addr::LOCALHOST, address, headers, body).await
}

/// Posts to `/webhook` from another of this machine's addresses.
pub async fn post_from(from: Ipv4Addr, address: SocketAddr, headers: &str, body: &str) -> Reply {
    let head = "POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    Raw::connect_from(from, address).await.ask(format!("{head}{headers}\r\n{body}")).await
}

/// A connection that keeps sending.
pub struct Sending {
    reader: Reader,
}

impl Sending {
    pub async fn reply(&mut self) -> Reply {
        soon(read_reply(&mut self.reader, true)).await
    }
}

async fn read_reply(reader: &mut Reader, has_body: bool) -> Reply {
    loop {
        let (status, headers) = read_head(reader).await;
        if status >= 200 {
            let text = if has_body { read_body(reader, &headers).await } else { String::new() };
            return Reply { status, headers, text };
        }
    }
}

async fn read_head(reader: &mut Reader) -> (u16, HeaderMap) {
    let first = read_line(reader).await;
    let status = first.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no status line: {first:?}"));
    let mut headers = HeaderMap::new();
    loop {
        let line = read_line(reader).await;
        let Some((name, value)) = line.split_once(": ") else { return (status, headers) };
        headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
    }
}

async fn read_line(reader: &mut Reader) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).await.unwrap();
    assert!(line.ends_with("\r\n"), "closed without an answer: {line:?}");
    line.trim_end_matches("\r\n").to_owned()
}

async fn read_body(reader: &mut Reader, headers: &HeaderMap) -> String {
    let length = headers.get("content-length").map_or(0, |length| length.to_str().unwrap().parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await.unwrap();
    String::from_utf8(body).unwrap()
}
