-- Pairs that are pending or previous go. The current ones stay with their configs.

drop trigger if exists trunkline_pairs_insert;
drop trigger if exists trunkline_pairs_update;
drop trigger if exists trunkline_pairs_delete;
drop table trunkline_pairs;
