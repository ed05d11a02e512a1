package service

// Change is the one way to write a secret, for what no operation does.
var Change = (*Service).update

// CatchUp is Follow for one secret.
var CatchUp = (*Service).catchUp
