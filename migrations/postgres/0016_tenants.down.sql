-- Labels go: tenants are known by their ids alone.

drop table {schema}.trunkline_tenants;
drop function {schema}.trunkline_audit_tenants();
