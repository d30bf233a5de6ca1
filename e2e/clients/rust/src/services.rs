//! The services Lock, Election and Auth, and TLS.

use std::fs;

use etcd_client::{Certificate, Client, ConnectOptions, Identity, LockOptions, Permission, PermissionType, ProclaimOptions, ResignOptions,
                  TlsOptions};

use crate::{connect, connect_with, expect, from, refused, take, value_of, variable, Outcome, Problem, WRONG_TIME};

async fn acquire(mut c: Client, name: String, lease: i64) -> Outcome<Vec<u8>> {
    Ok(c.lock(name, Some(LockOptions::new().with_lease(lease))).await?.key().to_vec())
}

/// Err if the task is done although it must wait.
async fn waits<T>(what: &str, task: &tokio::task::JoinHandle<T>) -> Outcome {
    tokio::time::sleep(WRONG_TIME).await;
    expect(what, task.is_finished(), false)
}

pub async fn lock(mut c: Client, p: String) -> Outcome {
    let name = format!("{p}lock");
    let mut leases = Vec::new();
    for _ in 0..3 {
        leases.push(c.lease_grant(60, None).await?.id());
    }
    let first = acquire(c.clone(), name.clone(), leases[0]).await?;
    let other = tokio::spawn(acquire(connect().await?, name.clone(), leases[1]));
    waits("both have the lock", &other).await?;
    c.unlock(first).await?;
    other.await??;
    let last = tokio::spawn(acquire(c.clone(), name, leases[2]));
    waits("the lock is not held", &last).await?;
    c.lease_revoke(leases[1]).await?; // the holder died
    let third = last.await??;
    c.unlock(third).await?;
    Ok(())
}

pub async fn election(mut c: Client, p: String) -> Outcome {
    let (one, two) = (c.lease_grant(60, None).await?.id(), c.lease_grant(60, None).await?.id());
    refused("before any campaign", c.leader(p.as_str()).await, "election: no leader")?;
    let first = c.campaign(p.as_str(), "one", one).await?.take_leader().ok_or("no leader")?;
    let mut observed = c.observe(p.as_str()).await?;
    let told = |r: Option<etcd_client::LeaderResponse>| -> Outcome<String> {
        let r = r.ok_or("no more to observe")?;
        Ok(r.kv().ok_or("no value")?.value_str()?.to_string())
    };
    expect("observed", told(observed.message().await?)?, "one".into())?;
    c.proclaim("one again", Some(ProclaimOptions::new().with_leader(first.clone()))).await?;
    expect("observed", told(observed.message().await?)?, "one again".into())?;
    let (mut other, name) = (connect().await?, p.clone());
    let won = tokio::spawn(async move { Ok::<_, Problem>(other.campaign(name, "two", two).await?) });
    waits("two leaders", &won).await?;
    c.resign(Some(ResignOptions::new().with_leader(first))).await?;
    let second = won.await??.take_leader().ok_or("no leader")?;
    expect("observed", told(observed.message().await?)?, "two".into())?;
    c.resign(Some(ResignOptions::new().with_leader(second))).await?;
    Ok(())
}

fn tls_options(authority: &str, name: Option<&str>) -> Outcome<TlsOptions> {
    let read = |file: String| fs::read(format!("{}/{file}", variable("CLIENT_PKI")));
    let mut tls = TlsOptions::new().ca_certificate(Certificate::from_pem(read(format!("{authority}.crt"))?));
    if let Some(name) = name {
        tls = tls.identity(Identity::from_pem(read(format!("{name}.crt"))?, read(format!("{name}.pk8"))?));
    }
    Ok(tls)
}

pub async fn tls(_: Client, p: String) -> Outcome {
    let key = format!("{p}a");
    let endpoint = format!("https://{}", variable("CLIENT_TLS_ENDPOINT"));
    let put = |authority: &'static str, name: Option<&'static str>, seconds: u64| {
        let (key, endpoint) = (key.clone(), endpoint.clone());
        async move {
            let options = ConnectOptions::new()
                .with_tls(tls_options(authority, name)?)
                .with_timeout(std::time::Duration::from_secs(seconds));
            let mut c = Client::connect([endpoint], Some(options)).await?;
            let at = c.put(key, "1", None).await?.header().ok_or("no header")?.revision();
            Ok::<_, Problem>((c, at))
        }
    };
    let (mut c, at) = put("ca", Some("alice"), 60).await?;
    expect("watched", take(&mut c, &p, from(at), 1).await?[0].value.as_str(), "1")?;
    for (authority, name) in [("ca", None), ("ca", Some("stranger")), ("other", Some("alice"))] {
        refused(&format!("authority {authority}, client {name:?}"), put(authority, name, 3).await.map(|_| ()), "")?;
    }
    Ok(())
}

async fn log_in(user: &str, password: &str) -> Outcome<Client> {
    connect_with(ConnectOptions::new().with_user(user, password)).await
}

async fn with_users(mut nobody: Client, root: &mut Client, p: &str) -> Outcome {
    let key = format!("{p}a");
    refused("wrong password", log_in("alice", "guess").await, "authentication failed")?;
    let mut alice = log_in("alice", "alice-secret").await?;
    expect("value", value_of(&mut alice, &key).await?.as_str(), "1")?;
    refused("write", alice.put(key.as_str(), "2", None).await, "permission denied")?;
    refused("outside", alice.get("elsewhere", None).await, "permission denied")?;
    refused("no user", nobody.get(key.as_str(), None).await, "user name is empty")?;
    refused("manage users", alice.user_add("mallory", "x", None).await, "permission denied")?;
    // A right that is taken away ends at once, also for a token given out before.
    root.user_revoke_role("alice", "reader").await?;
    refused("after revoke", alice.get(key.as_str(), None).await, "permission denied")?;
    root.put(key.as_str(), "2", None).await?;
    Ok(())
}

pub async fn auth(mut c: Client, p: String) -> Outcome {
    c.put(format!("{p}a"), "1", None).await?;
    c.role_add("reader").await?;
    c.role_grant_permission("reader", Permission::new(PermissionType::Read, p.as_str()).with_prefix()).await?;
    for (name, role) in [("root", "root"), ("alice", "reader")] {
        c.user_add(name, format!("{name}-secret"), None).await?;
        c.user_grant_role(name, role).await?;
    }
    c.auth_enable().await?;
    let mut root = log_in("root", "root-secret").await?;
    let users = with_users(c.clone(), &mut root, &p).await;
    root.auth_disable().await?;
    users?;
    c.put(format!("{p}a"), "3", None).await?;
    Ok(())
}
