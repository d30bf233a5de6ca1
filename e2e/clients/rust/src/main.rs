//! The cases of e2e/clients with etcd-client, the client for Rust (tonic and hyper below it). The crate's own tests are run
//! besides: crate_tests.py.

mod basics;
mod services;

use std::env;
use std::future::Future;
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, Event, GetOptions, WatchOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub type Problem = Box<dyn std::error::Error + Send + Sync>;
pub type Outcome<T = ()> = Result<T, Problem>;

const CASE_TIME: Duration = Duration::from_secs(180);
/// So long the one that must wait is given to do the wrong thing; a slow machine makes the test weaker, never red.
pub const WRONG_TIME: Duration = Duration::from_millis(300);

pub fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

pub async fn connect_with(options: ConnectOptions) -> Outcome<Client> {
    let endpoints: Vec<String> = variable("CLIENT_ENDPOINTS").split(',').map(|a| format!("http://{a}")).collect();
    Ok(Client::connect(endpoints, Some(options)).await?)
}

pub async fn connect() -> Outcome<Client> {
    connect_with(ConnectOptions::new().with_connect_timeout(Duration::from_secs(10))).await
}

pub async fn control(action: &str) -> Outcome {
    let address = variable("CLIENT_CONTROL").replace("http://", "");
    let mut door = tokio::net::TcpStream::connect(&address).await?;
    door.write_all(format!("POST {action} HTTP/1.0\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    door.read_to_string(&mut answer).await?;
    if answer.split(' ').nth(1) == Some("200") {
        return Ok(());
    }
    Err(format!("{action}: {answer}").into())
}

pub fn expect<T: PartialEq + std::fmt::Debug>(what: &str, got: T, want: T) -> Outcome {
    if got == want {
        return Ok(());
    }
    Err(format!("{what}: got {got:?}, want {want:?}").into())
}

/// Ok if it failed with this text.
pub fn refused<T, E: std::fmt::Display>(what: &str, result: Result<T, E>, text: &str) -> Outcome {
    match result {
        Ok(_) => Err(format!("{what}: was not refused").into()),
        Err(e) if e.to_string().contains(text) => Ok(()),
        Err(e) => Err(format!("{what}: got {e}, want {text}").into()),
    }
}

pub async fn value_of(c: &mut Client, key: &str) -> Outcome<String> {
    let r = c.get(key, None).await?;
    let kv = r.kvs().first().ok_or_else(|| format!("{key} is not there"))?;
    Ok(kv.value_str()?.to_string())
}

pub async fn count(c: &mut Client, prefix: &str) -> Outcome<i64> {
    Ok(c.get(prefix, Some(GetOptions::new().with_prefix().with_count_only())).await?.count())
}

/// What an event says, without the server's way of saying it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub kind: String,
    pub key: String,
    pub value: String,
    pub before: Option<String>,
    pub revision: i64,
}

pub fn seen(e: &Event) -> Seen {
    let text = |b: &[u8]| String::from_utf8_lossy(b).to_string();
    let kv = e.kv().expect("an event has a key");
    Seen {
        kind: format!("{:?}", e.event_type()),
        key: text(kv.key()),
        value: text(kv.value()),
        before: e.prev_kv().map(|k| text(k.value())),
        revision: kv.mod_revision(),
    }
}

pub fn from(revision: i64) -> WatchOptions {
    WatchOptions::new().with_prefix().with_prev_key().with_start_revision(revision)
}

/// So many events of a watch.
pub async fn take(c: &mut Client, prefix: &str, options: WatchOptions, number: usize) -> Outcome<Vec<Seen>> {
    let mut stream = c.watch(prefix, Some(options)).await?;
    let mut all = Vec::new();
    while all.len() < number {
        let r = stream.message().await?.ok_or("the watch ended")?;
        if r.canceled() {
            return Err(format!("the watch was cancelled: {}", r.cancel_reason()).into());
        }
        all.extend(r.events().iter().map(seen));
    }
    Ok(all)
}

async fn run<F: Future<Output = Outcome>>(name: &str, case: impl FnOnce(Client, String) -> F) -> bool {
    let prefix = format!("rust/{}/", name.replace(' ', "-"));
    let work = async { case(connect().await?, prefix).await };
    let outcome = tokio::time::timeout(CASE_TIME, work).await.unwrap_or_else(|_| Err("took too long".into()));
    match &outcome {
        Ok(()) => println!("ok    {name}"),
        Err(e) => println!("FAIL  {name}: {}", e.to_string().replace('\n', "; ")),
    }
    outcome.is_ok()
}

#[tokio::main]
async fn main() {
    let outcomes = [
        run("watch resume", basics::watch_resume).await, // first: no other case has left a watch
        run("kv", basics::kv).await,
        run("txn", basics::txn).await,
        run("watch", basics::watch).await,
        run("lease", basics::lease).await,
        run("lock", services::lock).await,
        run("election", services::election).await,
        run("tls", services::tls).await,
        run("auth", services::auth).await,
    ];
    std::process::exit(if outcomes.iter().all(|ok| *ok) { 0 } else { 1 });
}
