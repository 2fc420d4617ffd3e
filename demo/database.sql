create role app login;
create database demo owner app;
