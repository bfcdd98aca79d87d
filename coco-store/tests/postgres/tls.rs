//! A server that offers TLS, and one that does not.

use coco_core::store::{Store, StoreError};
use coco_store::SeaOrmStore;

use super::cluster::Cluster;
use super::ledger::in_time;
use super::stranger::Stranger;
use crate::support::{apply, insert};

/// Why the store of `address` is not opened.
async fn refused(address: &str) -> String {
    match SeaOrmStore::connect(address).await {
        Err(StoreError::Unavailable(reason)) => reason,
        other => panic!("{address}: {other:?}"),
    }
}

/// All connections of the store, whatever they are for.
async fn is_encrypted(stranger: &mut Stranger) -> bool {
    let of_store = "pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'coco'";
    let all = stranger.count(of_store).await;
    let encrypted = stranger.count(&format!("{of_store} AND ssl")).await;
    all > 0 && encrypted == all
}

#[tokio::test]
async fn a_server_is_asked_who_it_is() {
    in_time(async {
        let cluster = Cluster::start().await;
        let without = refused(&format!("{}?sslmode=require", cluster.address())).await;
        assert!(without.contains("server does not support TLS"), "{without}");

        let certificate = cluster.offer_tls("localhost").await;
        let named = cluster.address_at("localhost");
        let other = cluster.address();
        let mut stranger = Stranger::at(&format!("{other}?sslmode=disable")).await;
        for address in [
            format!("{other}?sslmode=require"),
            format!("{other}?sslmode=verify-ca&sslrootcert={certificate}"),
            format!("{named}?sslmode=verify-full&sslrootcert={certificate}"),
        ] {
            let store = SeaOrmStore::connect(&address).await.expect(&address);
            let lease = store.acquire().await.unwrap();
            apply(&store, &lease, vec![insert(lease.epoch as u128)]).await;
            assert!(is_encrypted(&mut stranger).await, "{address}");
            store.release(lease, true).await.unwrap();
        }

        let misnamed = format!("{other}?sslmode=verify-full&sslrootcert={certificate}");
        let misnamed = refused(&misnamed).await;
        assert!(misnamed.contains("certificate not valid for name \"127.0.0.1\""), "{misnamed}");
        let unknown = refused(&format!("{named}?sslmode=verify-full")).await;
        assert!(unknown.contains("invalid peer certificate: UnknownIssuer"), "{unknown}");
    })
    .await;
}
