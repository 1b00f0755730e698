drop table trunkline_nodes;
