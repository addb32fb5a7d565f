//! A name server on loopback that answers as a test tells it to, over UDP and TCP.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::CNAME;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

/// What a question is answered with.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// These records.
    Records(Vec<Record>),
    /// This code, and nothing else.
    Code(ResponseCode),
    /// "Too long for UDP": to be asked again over TCP.
    Truncated,
    /// First something with another transaction id, then these records.
    WrongIdThen(Vec<Record>),
    /// Never anything.
    Silence,
}

/// A question as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// In lower case, without the last dot.
    pub(crate) name: String,
    pub(crate) kind: RecordType,
    pub(crate) is_tcp: bool,
}

type Answers = Arc<dyn Fn(&Question) -> Reply + Send + Sync>;

/// A name server at work, for as long as its runtime.
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Question>>>,
}

impl NameServer {
    /// Answers by `answers`; over TCP only if `speaks_tcp`.
    pub(crate) async fn start(speaks_tcp: bool, answers: impl Fn(&Question) -> Reply + Send + Sync + 'static) -> Self {
        // The same port is needed twice, and the second may be taken: another one, then.
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.expect("loopback can be bound");
            let address = udp.local_addr().expect("an address");
            if let Ok(tcp) = TcpListener::bind(address).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().expect("an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let answers: Answers = Arc::new(answers);
        tokio::spawn(serve_udp(udp, Arc::clone(&asked), Arc::clone(&answers)));
        if speaks_tcp {
            tokio::spawn(serve_tcp(tcp, Arc::clone(&asked), answers));
        }
        Self { address, asked }
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Vec<Question> {
        self.asked.lock().expect("no test panics with it").clone()
    }

    /// How often addresses of `kind` were asked for.
    pub(crate) fn count(&self, kind: RecordType) -> usize {
        self.asked().iter().filter(|question| question.kind == kind).count()
    }
}

async fn serve_udp(socket: UdpSocket, asked: Arc<Mutex<Vec<Question>>>, answers: Answers) {
    let mut bytes = [0; 4_096];
    loop {
        let (length, from) = socket.recv_from(&mut bytes).await.expect("questions can be read");
        for reply in respond(&bytes[..length], false, &asked, &answers) {
            socket.send_to(&reply, from).await.expect("answers can be sent");
        }
    }
}

async fn serve_tcp(listener: TcpListener, asked: Arc<Mutex<Vec<Question>>>, answers: Answers) {
    loop {
        let (mut stream, _) = listener.accept().await.expect("connections can be accepted");
        let (asked, answers) = (Arc::clone(&asked), Arc::clone(&answers));
        tokio::spawn(async move {
            while let Ok(length) = stream.read_u16().await {
                let mut bytes = vec![0; length.into()];
                stream.read_exact(&mut bytes).await.expect("a whole question");
                for reply in respond(&bytes, true, &asked, &answers) {
                    let length = u16::try_from(reply.len()).expect("answers fit into 64 KiB");
                    drop(stream.write_all(&[&length.to_be_bytes(), reply.as_slice()].concat()).await);
                }
            }
        });
    }
}

fn respond(bytes: &[u8], is_tcp: bool, asked: &Mutex<Vec<Question>>, answers: &Answers) -> Vec<Vec<u8>> {
    let question = Message::from_vec(bytes).expect("our resolver asks properly");
    let query = question.queries.first().expect("a question").clone();
    let name = query.name().to_ascii().to_ascii_lowercase().trim_end_matches('.').to_owned();
    let heard = Question { name, kind: query.query_type(), is_tcp };
    asked.lock().expect("no test panics with it").push(heard.clone());
    let mut message = Message::new(question.metadata.id, MessageType::Response, OpCode::Query);
    message.add_query(query);
    message.metadata.recursion_available = true;
    let mut replies = Vec::new();
    match answers(&heard) {
        Reply::Silence => return replies,
        Reply::Code(code) => message.metadata.response_code = code,
        Reply::Truncated => message.metadata.truncation = true,
        Reply::Records(records) => drop(message.add_answers(records)),
        Reply::WrongIdThen(records) => {
            let mut wrong = message.clone();
            wrong.metadata.id = wrong.metadata.id.wrapping_add(1);
            wrong.add_answers(addresses(&heard.name, 60, &["10.0.0.1"]));
            replies.push(wrong.to_vec().expect("a message"));
            message.add_answers(records);
        }
    }
    replies.push(message.to_vec().expect("a message"));
    replies
}

fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).expect("a name");
    name.set_fqdn(true);
    name
}

/// Address records of `owner`.
pub(crate) fn addresses(owner: &str, ttl: u32, ips: &[&str]) -> Vec<Record> {
    let record = |ip: &&str| {
        let data = match ip.parse().expect("an address") {
            std::net::IpAddr::V4(v4) => RData::A(v4.into()),
            std::net::IpAddr::V6(v6) => RData::AAAA(v6.into()),
        };
        Record::from_rdata(name(owner), ttl, data)
    };
    ips.iter().map(record).collect()
}

/// The record that makes `owner` an alias of `target`.
pub(crate) fn alias(owner: &str, target: &str) -> Record {
    Record::from_rdata(name(owner), 60, RData::CNAME(CNAME(name(target))))
}
