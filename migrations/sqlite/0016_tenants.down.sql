-- Labels go: tenants are known by their ids alone.

drop table trunkline_tenants;
