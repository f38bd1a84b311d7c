//! How many connections are open, all together and from each address.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{limit::Limits, refusal::Refusal};
use crate::domain::client::ClientAddress;

/// The counts of open connections, with their caps.
pub(super) struct Admission {
    max: usize,
    max_per_address: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    all: usize,
    by_address: HashMap<ClientAddress, usize>,
}

/// A connection that may be open. Dropped, it makes room for another.
pub(super) struct Place {
    admission: Arc<Admission>,
    address: Option<ClientAddress>,
}

impl Admission {
    pub(super) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            max: limits.max_connections,
            max_per_address: limits.max_connections_per_address,
            open: Mutex::default(),
        })
    }

    /// A place for a connection. Without an address it counts as one of all, and of nobody: it is from a proxy.
    pub(super) fn enter(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Place, Refusal> {
        {
            let mut open = self.open();
            if open.all >= self.max {
                return Err(Refusal::Full);
            }
            open.all += 1;
        }
        let mut place = Place { admission: Arc::clone(self), address: None };
        address.map_or(Ok(()), |address| place.is_from(address))?;
        Ok(place)
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Counts the connection as one of this address, from now on.
    pub(super) fn is_from(&mut self, address: IpAddr) -> Result<(), Refusal> {
        let address = ClientAddress::from(address);
        let max = self.admission.max_per_address;
        {
            let mut open = self.admission.open();
            let count = open.by_address.entry(address).or_default();
            if *count >= max {
                return Err(Refusal::AddressFull);
            }
            *count += 1;
        }
        self.address = Some(address);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.admission.open();
        open.all -= 1;
        if let Some(address) = self.address
            && let Entry::Occupied(mut entry) = open.by_address.entry(address)
        {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(max_connections: usize, max_connections_per_address: usize) -> Arc<Admission> {
        Admission::new(&Limits { max_connections, max_connections_per_address, ..Limits::default() })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_only_so_many_places_and_gets_them_back() {
        let admission = admission(10, 2);
        let first = admission.enter(Some(ip("192.0.2.1"))).unwrap();
        let _second = admission.enter(Some(ip("::ffff:192.0.2.1"))).unwrap();
        assert_eq!(admission.enter(Some(ip("192.0.2.1"))).err(), Some(Refusal::AddressFull));
        let _other = admission.enter(Some(ip("192.0.2.2"))).unwrap();
        let _proxies = [(); 5].map(|()| admission.enter(None).unwrap());
        drop(first);
        assert!(admission.enter(Some(ip("192.0.2.1"))).is_ok());
    }

    #[test]
    fn all_addresses_of_a_64_share_their_places() {
        let admission = admission(10, 1);
        let _one = admission.enter(Some(ip("2001:db8:1:2::3"))).unwrap();
        assert_eq!(admission.enter(Some(ip("2001:db8:1:2:ffff::9"))).err(), Some(Refusal::AddressFull));
        assert!(admission.enter(Some(ip("2001:db8:1:3::3"))).is_ok());
    }

    #[test]
    fn one_that_is_refused_takes_no_place_and_leaves_no_trace() {
        let admission = admission(2, 1);
        let _one = admission.enter(Some(ip("192.0.2.1"))).unwrap();
        for _ in 0..5 {
            assert_eq!(admission.enter(Some(ip("192.0.2.1"))).err(), Some(Refusal::AddressFull));
        }
        let mut proxied = admission.enter(None).unwrap();
        assert_eq!(proxied.is_from(ip("192.0.2.1")).err(), Some(Refusal::AddressFull));
        assert_eq!(admission.enter(None).err(), Some(Refusal::Full));
        drop(proxied);
        assert_eq!(admission.open().all, 1);
        assert_eq!(admission.open().by_address.len(), 1);
    }
}
