//! The lists of the page: whatever the filter and the order, each row is on one page and no other; and many
//! numbers are assigned by a CSV, all of them or none.

use serde_json::Value;
use trunkline::store::ConfigEdit;

use super::{Daemon, Request, Site};
use crate::support::database::{BOTH, Kind};
use crate::support::{caller, config, number};

const MAY: [&str; 3] =
    ["--all-tenants", "--may", "configs,edit_configs,numbers,edit_numbers,resolve"];

/// A daemon with more rows than a page has.
struct Lists {
    site: Site,
    daemon: Daemon,
    token: String,
}

impl Lists {
    async fn new(kind: Kind) -> Self {
        let site = Site::new(kind).await;
        let store = site.database.store();
        let eu = store.configs().await.unwrap()[0].id;
        let mut numbers: Vec<_> = (2..=250)
            .map(|at| number(caller(u128::from(at % 3 + 1), at), (at % 2 == 0).then_some(eu)))
            .collect();
        // One whose rules are wrong, one whose config is gone, and two of North America.
        numbers[0].rules = serde_json::json!({"outbound": "perhaps"});
        numbers[1].rules =
            serde_json::json!({"livekit_config": "00000000-0000-4000-8000-00000000dead"});
        let abroad = |digits: &str| {
            let mut new = number(caller(1, 1), None);
            new.caller.number = digits.parse().unwrap();
            new
        };
        numbers.extend([abroad("+12025550123"), abroad("+14165550123")]);
        store.import(&numbers).await.unwrap();
        site.program.run(&["tenant", "label", super::TENANT, "Acme"]).ok();
        let token = site.client("console", &MAY);
        let daemon = site.daemon();
        daemon.is_ready().await;
        Self { site, daemon, token }
    }

    async fn page(&self, path: &str) -> String {
        let answer = self.daemon.call(&self.token, "GET", path, &Value::Null).await;
        assert_eq!(answer.word(), "200", "{path}: {answer:?}");
        answer.body
    }

    /// What stands in the rows of every page of a list, in order.
    async fn walk(&self, path: &str, row: &str) -> Vec<String> {
        let (mut all, mut next) = (Vec::new(), Some(path.to_owned()));
        while let Some(path) = next {
            let page = self.page(&path).await;
            let rows = page.split(row).skip(1);
            all.extend(rows.map(|row| row.split('<').next().unwrap().to_owned()));
            let link = page.split("class=\"button\" href=\".").last();
            next = page.contains(">Next page<").then(|| {
                link.unwrap().split('"').next().unwrap().replace("&#38;", "&").replace("&amp;", "&")
            });
        }
        all
    }

    async fn numbers(&self, query: &str) -> Vec<String> {
        // The digits stand behind the link to each.
        let rows = self.walk(&format!("/numbers?{query}"), "class=\"figures\" href=").await;
        rows.into_iter().map(|row| row.split('>').nth(1).unwrap_or_default().to_owned()).collect()
    }

    /// Sends a form, and returns the status and the page.
    async fn send(&self, path: &str, fields: &[(&str, &str)]) -> (String, String) {
        let form = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
        let form = form.collect::<Vec<_>>().join("&");
        let request = Request::new("POST", path, &Value::Null, &self.token)
            .with("content-type", "application/x-www-form-urlencoded")
            .body(&form);
        let answer = self.daemon.send(request).await;
        (answer.word().to_owned(), answer.body)
    }

    async fn assigned(&self) -> String {
        let count =
            "select count(*) from voice_agent_numbers where rules ->> 'livekit_config' is not null";
        self.site.database.value(count).await
    }
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[tokio::test]
async fn every_number_is_on_one_page_in_each_order_and_filter() {
    for kind in BOTH {
        let lists = Lists::new(kind).await;
        let up = lists.numbers("").await;
        assert_eq!(up.len(), 252, "{kind:?}");
        let mut sorted = up.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(up, sorted, "in order, each once");
        let mut down = lists.numbers("sort=-number").await;
        down.reverse();
        assert_eq!(down, up);
        let by_tenant = lists.numbers("sort=tenant").await;
        let mut same = by_tenant.clone();
        same.sort();
        assert_eq!(same, up, "each once");
        assert_eq!(
            by_tenant[..2],
            ["+12025550123", "+14165550123"],
            "those of the first tenant first"
        );
        assert!(by_tenant.windows(2).any(|two| two[0] > two[1]), "and then those of the second");

        let many = async |query: &str| lists.numbers(query).await.len();
        assert_eq!(many("tenant=Acme").await, 86);
        assert_eq!(many("tenant=acm&sort=-number").await, 86, "a part of a label that one has");
        assert_eq!(many("country=US").await, 1);
        assert_eq!(many("country=canada").await, 0, "it says what a country is");
        assert_eq!(many("country=CA&sort=tenant").await, 1);
        assert_eq!(many("country=AE").await, 250);
        assert_eq!(many("state=broken").await, 1);
        assert_eq!(many("state=gone").await, 1);
        assert_eq!(many("state=in_use").await, 125);
        let eu = lists.site.database.store().configs().await.unwrap()[0].id;
        assert_eq!(many(&format!("config={eu}")).await, 125);
        lists.site.database.store().disable_config(eu, true).await.unwrap();
        assert_eq!(
            (many("state=in_use").await, many("state=disabled&sort=tenant").await),
            (0, 125)
        );
        assert_eq!(many("state=none").await, 252 - 125 - 1);
        let wrong = lists.page("/numbers?tenant=nobody").await;
        assert!(wrong.contains("must be the label of a tenant"), "{wrong}");
        let csv = lists.page("/numbers.csv?country=US").await;
        assert_eq!(csv.lines().count(), 2, "{csv}");
        assert!(csv.contains("\"'+12025550123\",\"Acme\",\"none\""), "{csv}");
    }
}

#[tokio::test]
async fn every_config_is_on_one_page_in_each_order_and_filter() {
    for kind in BOTH {
        let lists = Lists::new(kind).await;
        let (store, ring) = (lists.site.database.store(), trunkline::KeyRing::generate().unwrap());
        let ring = trunkline::KeyRing::parse(&ring).unwrap();
        let mut last = None;
        for at in 0..130 {
            let id = store.create_config(&config(&ring, &format!("c{at:03}"))).await.unwrap();
            if at % 3 == 0 {
                store.disable_config(id, true).await.unwrap();
            }
            last = last.or(Some(id));
        }
        let edit =
            ConfigEdit { description: Some(Some("Newest.".into())), ..ConfigEdit::default() };
        store.update_config(last.unwrap(), &edit).await.unwrap();
        let names = async |query: &str| {
            let rows = lists.walk(&format!("/configs?{query}"), "<th scope=\"row\"><a href=").await;
            rows.iter()
                .map(|row| row.split('>').nth(1).unwrap_or_default().to_owned())
                .collect::<Vec<_>>()
        };
        let up = names("").await;
        assert_eq!((up.len(), &*up[0], &*up[130]), (131, "c000", "eu"), "{kind:?}");
        let mut down = names("sort=-name").await;
        down.reverse();
        assert_eq!(down, up);
        let mut changed = names("sort=changed").await;
        assert_eq!(changed[0], "c000", "it was changed last");
        changed.sort();
        assert_eq!(changed, up, "each once");
        assert_eq!(names("state=disabled&sort=changed").await.len(), 44);
        assert_eq!(names("state=in_use&search=C0").await.len(), 66);
    }
}

#[tokio::test]
async fn a_csv_assigns_all_of_its_numbers_or_none_and_only_what_was_seen() {
    for kind in BOTH {
        let lists = Lists::new(kind).await;
        let bad = "number;tenant;config\r\n+971500000005;Acme;eu\r\n+971500000007;;eu\r\n\
                   +971500000004;Nobody;eu\r\n+971500000004;;us\r\n12;;eu\r\n+971500000007;;none\r\n\
                   +971599999999;;eu\r\n+971500000002;;none;more\r\n+12025550123;Acme;eu\r\n";
        let before = lists.assigned().await;
        let (status, page) =
            lists.send("/numbers/import", &[("csv", bad), ("do", "preview")]).await;
        assert_eq!(status, "200", "{page}");
        for why in [
            "this tenant has no such number",
            "no tenant has this label or id",
            "there is no config of this name or id",
            "a number must begin with +",
            "stands in line 3 already",
            "no tenant has this number",
            "it has 4 fields",
        ] {
            assert!(page.contains(why), "{why}: {page}");
        }
        assert!(
            page.contains("7 rows are refused") && page.contains("2 numbers would move"),
            "{page}"
        );
        let plan = |page: &str| {
            let plan = page.split("name=\"plan\" value=\"").nth(1).unwrap();
            plan.split('"').next().unwrap().to_owned()
        };
        let seen = plan(&page);
        let take = [("csv", bad), ("plan", &seen), ("do", "assign")];
        let (status, page) = lists.send("/numbers/import", &take).await;
        assert!(status == "422" && page.contains("Nothing was moved"), "{page}");
        let other = [("csv", bad), ("plan", "another"), ("do", "assign"), ("skip", "yes")];
        let (status, page) = lists.send("/numbers/import", &other).await;
        assert!(
            status == "422" && page.contains("meanwhile"),
            "what was not seen is not done: {page}"
        );
        assert_eq!(lists.assigned().await, before, "{kind:?}");
        let take = [&take[..], &[("skip", "yes")]].concat();
        assert_eq!(lists.send("/numbers/import", &take).await.0, "303");
        let after: usize = lists.assigned().await.parse().unwrap();
        assert_eq!(after, before.parse::<usize>().unwrap() + 2, "{kind:?}");
        // What somebody else changed since is told, and not overwritten.
        let (_, page) = lists.send("/numbers/import", &[("csv", bad), ("do", "preview")]).await;
        assert!(page.contains("2 have their config already"), "{page}");
        for csv in
            ["number", "a,b\n1,2", &format!("number,config\n{}", "+971500000003,eu\n".repeat(1001))]
        {
            let (status, page) =
                lists.send("/numbers/import", &[("csv", csv), ("do", "preview")]).await;
            assert!(status == "422" && page.contains("role=\"alert\""), "{page}");
        }
    }
}
