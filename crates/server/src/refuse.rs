//! Turning a connection away: there are as many as may be at once, and whoever comes on top is told when to come again.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long whoever is turned away may take to send a request, and to read the answer.
const TIME: Duration = Duration::from_secs(2);
/// The answer.
const BODY: &str = concat!(
    r#"{"type":"urn:posthaste:problem:overloaded","title":"Service Unavailable","status":503,"#,
    r#""detail":"Too many connections are open. Try again in a moment, and keep fewer open.","code":"overloaded","#,
    r#""request_id":"req_unread"}"#
);

/// Answers 503 with `Retry-After` to whatever is asked, and closes the connection.
pub(crate) async fn refuse(mut stream: TcpStream) {
    let answer = async {
        // Closing a connection of which something is unread would reset it, and the answer with it.
        let mut unread = [0; 4_096];
        if stream.read(&mut unread).await? == 0 {
            return Ok(());
        }
        let head = format!(
            "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\
             retry-after: 1\r\nconnection: close\r\n\r\n",
            BODY.len()
        );
        stream.write_all((head + BODY).as_bytes()).await?;
        stream.shutdown().await?;
        while stream.read(&mut unread).await? > 0 {}
        Ok::<_, std::io::Error>(())
    };
    // Whoever does not take the answer goes without.
    let _ended = tokio::time::timeout(TIME, answer).await;
}
