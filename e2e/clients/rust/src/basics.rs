//! Keys, transactions, watches, leases.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use etcd_client::{Client, Compare, CompareOp, ConnectOptions, DeleteOptions, GetOptions, PutOptions, SortOrder, SortTarget, Txn, TxnOp,
                  TxnOpResponse, WatchFilterType};

use crate::{connect, connect_with, control, count, expect, from, refused, seen, take, value_of, Outcome, Seen};

const NUMBERS: usize = 300;

pub async fn kv(mut c: Client, p: String) -> Outcome {
    let key = |k: &str| format!("{p}{k}");
    let first = c.put(key("a"), "1", None).await?.header().ok_or("no header")?.revision();
    let second = c.put(key("a"), "2", Some(PutOptions::new().with_prev_key())).await?;
    expect("previous value", second.prev_key().ok_or("none")?.value_str()?, "1")?;
    c.put(key("b"), "3", None).await?;
    c.put(key("c"), vec![0u8, 255], None).await?;
    let down = GetOptions::new().with_prefix().with_sort(SortTarget::Key, SortOrder::Descend).with_limit(2);
    let r = c.get(p.as_str(), Some(down)).await?;
    expect("last key", r.kvs()[0].key_str()?, key("c").as_str())?;
    expect("bytes", r.kvs()[0].value(), &[0u8, 255][..])?;
    expect("count and more", (r.count(), r.more(), r.kvs().len()), (3, true, 2))?;
    let old = c.get(key("a"), Some(GetOptions::new().with_revision(first))).await?;
    expect("old value", old.kvs()[0].value_str()?, "1")?;
    let deleted = c.delete(p.as_str(), Some(DeleteOptions::new().with_prefix().with_prev_key())).await?;
    expect("deleted", (deleted.deleted(), deleted.prev_kvs().len()), (3, 3))?;
    refused("empty key", c.put("", "x", None).await, "key is not provided")
}

pub async fn txn(mut c: Client, p: String) -> Outcome {
    let (a, b) = (format!("{p}a"), format!("{p}b"));
    let create = || {
        let inner = Txn::new()
            .when([Compare::value(b.as_str(), CompareOp::Equal, "2")])
            .and_then([TxnOp::delete(b.as_str(), None)]);
        Txn::new()
            .when([Compare::create_revision(a.as_str(), CompareOp::Equal, 0)])
            .and_then([TxnOp::put(a.as_str(), "1", None), TxnOp::put(b.as_str(), "2", None)])
            .or_else([TxnOp::get(a.as_str(), None), TxnOp::txn(inner)])
    };
    expect("first branch", c.txn(create()).await?.succeeded(), true)?;
    let second = c.txn(create()).await?;
    expect("second branch", second.succeeded(), false)?;
    match &second.op_responses()[..] {
        [TxnOpResponse::Get(read), TxnOpResponse::Txn(inner)] => {
            expect("read value", read.kvs()[0].value_str()?, "1")?;
            expect("inner branch", inner.succeeded(), true)?;
        }
        other => return Err(format!("answers {other:?}").into()),
    }
    expect("left", count(&mut c, &p).await?, 1)?;
    let twice = Txn::new().and_then([TxnOp::put(a.as_str(), "1", None), TxnOp::put(a.as_str(), "2", None)]);
    refused("the same key twice", c.txn(twice).await, "duplicate key")
}

pub async fn watch(mut c: Client, p: String) -> Outcome {
    let (a, b) = (format!("{p}a"), format!("{p}b"));
    let at = c.put(a.as_str(), "1", None).await?.header().ok_or("no header")?.revision();
    c.put(a.as_str(), "2", None).await?;
    c.put(b.as_str(), "3", None).await?;
    c.delete(a.as_str(), None).await?;
    let event = |kind: &str, key: &str, value: &str, before: Option<&str>, revision| Seen {
        kind: kind.into(),
        key: key.into(),
        value: value.into(),
        before: before.map(String::from),
        revision,
    };
    let want = vec![
        event("Put", &a, "1", None, at),
        event("Put", &a, "2", Some("1"), at + 1),
        event("Put", &b, "3", None, at + 2),
        event("Delete", &a, "", Some("2"), at + 3),
    ];
    expect("events", take(&mut c, &p, from(at), 4).await?, want)?;
    let deletes = take(&mut c, &p, from(at).with_filters([WatchFilterType::NoPut]), 1).await?;
    expect("filtered", deletes[0].revision, at + 3)
}

/// Each number until it is acknowledged: of a put whose member died nobody knows whether it was written.
async fn write_numbers(p: String) -> Outcome {
    let mut writer = connect_with(ConnectOptions::new().with_timeout(Duration::from_secs(2))).await?;
    let end = Instant::now() + Duration::from_secs(150);
    for i in 0..NUMBERS {
        while let Err(e) = writer.put(format!("{p}key{}", i % 7), i.to_string(), None).await {
            if Instant::now() > end {
                return Err(e.into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// The crate tells a broken watch with an error: the next one begins behind the last event.
async fn follow(c: &mut Client, p: &str, begin: i64) -> Outcome<Vec<Seen>> {
    let mut all: Vec<Seen> = Vec::new();
    let mut steps = vec![(150, "/restart"), (50, "/kill-watched")];
    let last = (NUMBERS - 1).to_string();
    let mut streams = 0;
    while all.last().map(|e| &e.value) != Some(&last) {
        streams += 1;
        if streams > 500 {
            return Err("500 streams broke".into());
        }
        let next = all.last().map_or(begin, |e| e.revision + 1);
        let Ok(mut stream) = c.watch(p, Some(from(next))).await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        while let Ok(Some(r)) = stream.message().await {
            if r.canceled() {
                break;
            }
            all.extend(r.events().iter().map(seen));
            if steps.last().is_some_and(|s| all.len() >= s.0) {
                control(steps.pop().map_or("", |s| s.1)).await?;
            }
            if all.last().map(|e| &e.value) == Some(&last) {
                break;
            }
        }
    }
    expect("the stream broke when its member was killed", streams > 1, true)?;
    Ok(all)
}

/// What a watch told while its member died is the history, as a fresh watch tells it afterwards.
pub async fn watch_resume(mut c: Client, p: String) -> Outcome {
    control("/mark").await?;
    let begin = c.put(format!("{p}begin"), "", None).await?.header().ok_or("no header")?.revision() + 1;
    let writer = tokio::spawn(write_numbers(p.clone()));
    let all = follow(&mut c, &p, begin).await?;
    writer.await??;
    // (A connection of its own: one to a member that was gone may still fail.)
    let history = take(&mut connect().await?, &p, from(begin), all.len()).await?;
    for (i, (got, want)) in all.iter().zip(&history).enumerate() {
        expect(&format!("event {i}"), got, want)?;
        expect("revisions grow", i == 0 || all[i - 1].revision < got.revision, true)?;
    }
    let values: HashSet<&String> = all.iter().map(|e| &e.value).collect();
    expect("acknowledged puts seen", values.len(), NUMBERS)
}

pub async fn lease(mut c: Client, p: String) -> Outcome {
    let (brief, lasting) = (c.lease_grant(5, None).await?.id(), c.lease_grant(1000, None).await?.id());
    let (brief_key, lasting_key) = (format!("{p}brief"), format!("{p}lasting"));
    let put = c.put(brief_key.as_str(), "", Some(PutOptions::new().with_lease(brief))).await?;
    let at = put.header().ok_or("no header")?.revision();
    c.put(lasting_key.as_str(), "", Some(PutOptions::new().with_lease(lasting))).await?;
    let (mut keeper, mut answers) = c.lease_keep_alive(brief).await?;
    for _ in 0..14 {
        keeper.keep_alive().await?;
        expect("kept alive", answers.message().await?.ok_or("no answer")?.ttl(), 5)?;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    value_of(&mut c, &brief_key).await?;
    let left = c.lease_time_to_live(lasting, Some(etcd_client::LeaseTimeToLiveOptions::new().with_keys())).await?;
    expect("granted", (left.granted_ttl(), left.keys().len()), (1000, 1))?;
    let gone = take(&mut c, &brief_key, from(at).with_filters([WatchFilterType::NoPut]), 1).await?;
    expect("expired", gone[0].kind.as_str(), "Delete")?;
    c.lease_revoke(lasting).await?;
    expect("left", count(&mut c, &p).await?, 0)?;
    refused("kept alive too late", c.lease_keep_alive(brief).await, "")?;
    refused("revoked again", c.lease_revoke(lasting).await, "requested lease not found")
}
