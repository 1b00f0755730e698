drop table trunkline_clients;
