-- The audit goes with its rows. `trunkline audit export` keeps a copy.

drop trigger if exists trunkline_audit_config_insert;
drop trigger if exists trunkline_audit_config_replace;
drop trigger if exists trunkline_audit_config_delete;
drop trigger if exists trunkline_audit_config_update;
drop trigger if exists trunkline_audit_number_insert;
drop trigger if exists trunkline_audit_number_replace;
drop trigger if exists trunkline_audit_number_delete;
drop trigger if exists trunkline_audit_number_update;
drop trigger if exists trunkline_audit_client_insert;
drop trigger if exists trunkline_audit_client_replace;
drop trigger if exists trunkline_audit_client_delete;
drop trigger if exists trunkline_audit_client_update;
drop table trunkline_audit_replaced;
drop table trunkline_audit_session;
drop table trunkline_audit_chain;
drop table trunkline_audit;
