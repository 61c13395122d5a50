package main

var public []mutant
