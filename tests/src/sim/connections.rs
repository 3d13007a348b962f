//! Connections to the collectors: one for each agent, as real ones have it, or one for several of them.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tonic::transport::{Channel, Endpoint};

/// Connections that are shared, and how to make those that are not.
#[derive(Debug)]
pub(super) struct Connections {
    endpoints: Vec<Endpoint>,
    hosts_per_connection: usize,
    shared: Mutex<HashMap<(usize, usize), Channel>>,
}

// === impl Connections ===

impl Connections {
    /// To these addresses.
    pub(super) fn new(
        collectors: &[String],
        hosts_per_connection: usize,
        timeout: Duration,
    ) -> Result<Self, (String, tonic::transport::Error)> {
        let endpoint = |url: &String| {
            let endpoint = Endpoint::from_shared(url.clone()).map_err(|error| (url.clone(), error));
            // A collector that is frozen or whose host is gone says nothing: pings find out.
            Ok(endpoint?
                .connect_timeout(timeout)
                .http2_keep_alive_interval(timeout)
                .keep_alive_timeout(timeout))
        };
        let endpoints = collectors.iter().map(endpoint).collect::<Result<_, _>>()?;
        Ok(Self { endpoints, hosts_per_connection, shared: Mutex::default() })
    }

    /// Number of collectors.
    pub(super) fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// A connection of a host to one of the collectors. It is opened by the first call.
    pub(super) fn channel(&self, host: usize, collector: usize) -> Channel {
        let endpoint = &self.endpoints[collector];
        if self.hosts_per_connection <= 1 {
            return endpoint.connect_lazy();
        }
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (host / self.hosts_per_connection, collector);
        shared.entry(key).or_insert_with(|| endpoint.connect_lazy()).clone()
    }
}
